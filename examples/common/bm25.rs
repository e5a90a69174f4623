//! First-stage retrieval: BM25 over texts, in memory.

use anyhow::Result;
use tantivy::collector::TopDocs;
use tantivy::query::QueryParser;
use tantivy::schema::{Field, STORED, Schema, TEXT, Value};
use tantivy::{Index, IndexReader, TantivyDocument, doc};

/// Memory of the index writer, the least that it takes.
const WRITER_BYTES: usize = 15_000_000;

/// An index over texts, which it knows by their number.
pub struct Bm25 {
    reader: IndexReader,
    parser: QueryParser,
    number: Field,
}

impl Bm25 {
    /// Indexes the texts.
    ///
    /// # Errors
    /// Those of the index, e.g. out of memory.
    pub fn new<T: AsRef<str>>(texts: &[T]) -> Result<Self> {
        let mut schema = Schema::builder();
        let number = schema.add_u64_field("number", STORED);
        let body = schema.add_text_field("body", TEXT);
        let index = Index::create_in_ram(schema.build());
        let mut writer = index.writer_with_num_threads(1, WRITER_BYTES)?;
        for (i, text) in texts.iter().enumerate() {
            writer.add_document(doc!(number => i as u64, body => text.as_ref()))?;
        }
        writer.commit()?;
        let parser = QueryParser::for_index(&index, vec![body]);
        Ok(Self { reader: index.reader()?, parser, number })
    }

    /// Numbers of the best `count` texts, best first.
    ///
    /// # Errors
    /// Those of the index.
    pub fn search(&self, query: &str, count: usize) -> Result<Vec<usize>> {
        // Words only: what a question holds of the query language's signs is not meant.
        let words: String =
            query.chars().map(|c| if c.is_alphanumeric() { c } else { ' ' }).collect();
        let (query, _) = self.parser.parse_query_lenient(&words.to_lowercase());
        let searcher = self.reader.searcher();
        let found = searcher.search(&query, &TopDocs::with_limit(count.max(1)).order_by_score())?;
        let number = |(_, address)| -> Result<usize> {
            let document: TantivyDocument = searcher.doc(address)?;
            let number = document.get_first(self.number).and_then(|value| value.as_u64());
            Ok(number.unwrap_or_default() as usize)
        };
        found.into_iter().map(number).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_with_the_rare_word_comes_first_and_signs_do_no_harm() {
        let texts = ["the cat sat", "the dog ran", "the cat and the dog", "a heron flew"];
        let index = Bm25::new(&texts).unwrap();
        assert_eq!(index.search("heron", 10).unwrap(), [3]);
        assert_eq!(index.search("Cat? AND (dog -\"", 1).unwrap(), [2]);
        assert_eq!(index.search("zebra", 10).unwrap(), Vec::<usize>::new());
        assert_eq!(index.search("", 10).unwrap(), Vec::<usize>::new());
    }
}
