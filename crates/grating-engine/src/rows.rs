//! Embedding rows through the row cache.

use grating_io::{Checkpoint, RowCache, RowCacheStats, TensorInfo};
use grating_model::{RowSource, TensorView};

/// Rows of the token embeddings through the cache; those of other tables from the checkpoint.
pub(crate) struct CachedRows {
    checkpoint: Checkpoint,
    /// Name of the table that is cached.
    table: String,
    cache: RowCache,
}

impl CachedRows {
    pub(crate) fn new(checkpoint: Checkpoint, table: &TensorInfo, capacity_rows: usize) -> Self {
        let row_bytes = table.byte_len() / table.shape[0] as u64;
        let cache = RowCache::new(capacity_rows, row_bytes as usize);
        CachedRows { checkpoint, table: table.name.clone(), cache }
    }

    pub(crate) fn capacity(&self) -> usize {
        self.cache.capacity()
    }

    pub(crate) fn stats(&self) -> RowCacheStats {
        self.cache.stats()
    }

    pub(crate) fn memory_bytes(&self) -> u64 {
        self.cache.memory_bytes() as u64
    }
}

impl RowSource for CachedRows {
    fn rows(
        &mut self,
        table: &TensorInfo,
        ids: &[u32],
        out: &mut [f32],
    ) -> grating_model::Result<()> {
        if table.name != self.table {
            return self.checkpoint.rows(table, ids, out);
        }
        let columns = table.shape[1];
        let shape = [columns];
        let mut broken = None;
        self.cache.get(&self.checkpoint, table, ids, |position, bytes| {
            match TensorView::new(table.dtype, &shape, bytes) {
                Ok(row) => row.widen_into(&mut out[position * columns..(position + 1) * columns]),
                Err(error) => broken = Some(error),
            }
        })?;
        broken.map_or(Ok(()), Err)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::golden;

    #[test]
    fn rows_are_the_checkpoints_and_only_those_of_its_table_go_through_the_cache() {
        let (model, mut checkpoint) = golden("bert-gelu-f32");
        let table = model.token_embeddings().tensor().clone();
        let positions = checkpoint.tensor(POSITIONS).unwrap().clone();
        let mut cached = CachedRows::new(checkpoint.clone(), &table, 8);
        let ids = [3, 5, 3, 1];
        for (times, table) in [(1, &table), (2, &table), (2, &positions)] {
            let mut found = vec![0.0; ids.len() * table.shape[1]];
            let mut expected = found.clone();
            cached.rows(table, &ids, &mut found).unwrap();
            checkpoint.rows(table, &ids, &mut expected).unwrap();
            assert_eq!(found, expected, "{}", table.name);
            let stats = cached.stats();
            assert_eq!((stats.misses, stats.hits), (3, 3 * (times - 1)), "{}", table.name);
        }
        assert_eq!(cached.capacity(), 8);
    }

    const POSITIONS: &str = "bert.embeddings.position_embeddings.weight";
}
