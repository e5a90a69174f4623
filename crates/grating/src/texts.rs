//! The texts of a request, owned by it or shared with others.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use crate::input::TextList;

/// The texts of a request; clones share them.
///
/// Made of whatever holds texts. What is given by value is kept as it is, nothing is copied; a pool that several requests
/// ask about is given as an [`Arc`], or as a clone. What is borrowed is copied once.
///
/// ```
/// use std::sync::Arc;
/// use grating::{Request, Texts};
///
/// let pool: Texts = vec!["a river".to_string(), "a window".to_string()].into();
/// let requests = ["water", "glass"].map(|query| Request::new(query, pool.clone(), 1));
/// let shared: Arc<[String]> = Arc::new(["a river".to_string()]);
/// let more = [Request::new("water", shared, 1), Request::new("water", &["a river"], 1)];
/// # drop((requests, more));
/// ```
#[derive(Clone)]
pub struct Texts(Arc<dyn IndexedTexts + Send + Sync>);

/// Something that holds texts in an order.
pub(crate) trait IndexedTexts {
    fn len(&self) -> usize;
    /// The text at a place that there is.
    fn text(&self, index: usize) -> &str;
}

impl<T: AsRef<str>> IndexedTexts for Vec<T> {
    fn len(&self) -> usize {
        self.as_slice().len()
    }

    fn text(&self, index: usize) -> &str {
        self[index].as_ref()
    }
}

impl<T: AsRef<str>> IndexedTexts for Arc<[T]> {
    fn len(&self) -> usize {
        self.as_ref().len()
    }

    fn text(&self, index: usize) -> &str {
        self[index].as_ref()
    }
}

/// A part of a list.
struct Part {
    list: Arc<TextList>,
    range: Range<usize>,
}

impl IndexedTexts for Part {
    fn len(&self) -> usize {
        self.range.len()
    }

    fn text(&self, index: usize) -> &str {
        self.list.text(self.range.start + index)
    }
}

impl Texts {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All of them, in their order.
    pub fn to_vec(&self) -> Vec<&str> {
        (0..self.len()).map(|index| self.0.text(index)).collect()
    }

    /// Some of a list, which is shared.
    ///
    /// # Panics
    /// Where the list has no such texts.
    pub fn part(list: &Arc<TextList>, range: Range<usize>) -> Self {
        assert!(range.start <= range.end && range.end <= list.len(), "{range:?} of {}", list.len());
        Texts(Arc::new(Part { list: Arc::clone(list), range }))
    }

    pub(crate) fn source(&self) -> &(dyn IndexedTexts + Sync) {
        &*self.0
    }
}

/// All of them, shared.
impl From<&Arc<TextList>> for Texts {
    fn from(list: &Arc<TextList>) -> Self {
        Texts::part(list, 0..list.len())
    }
}

impl fmt::Debug for Texts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} texts", self.len())
    }
}

impl<T: AsRef<str> + Send + Sync + 'static> From<Vec<T>> for Texts {
    fn from(texts: Vec<T>) -> Self {
        Texts(Arc::new(texts))
    }
}

impl<T: AsRef<str> + Send + Sync + 'static> From<Arc<Vec<T>>> for Texts {
    fn from(texts: Arc<Vec<T>>) -> Self {
        Texts(texts)
    }
}

impl<T: AsRef<str> + Send + Sync + 'static> From<Arc<[T]>> for Texts {
    fn from(texts: Arc<[T]>) -> Self {
        Texts(Arc::new(texts))
    }
}

/// Copies the texts.
impl<T: AsRef<str>> From<&[T]> for Texts {
    fn from(texts: &[T]) -> Self {
        texts.iter().map(|text| text.as_ref().to_string()).collect::<Vec<_>>().into()
    }
}

/// Copies the texts.
impl<T: AsRef<str>> From<&Vec<T>> for Texts {
    fn from(texts: &Vec<T>) -> Self {
        texts.as_slice().into()
    }
}

/// Copies the texts.
impl<T: AsRef<str>, const N: usize> From<&[T; N]> for Texts {
    fn from(texts: &[T; N]) -> Self {
        texts.as_slice().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_holds_texts_will_do_and_what_is_owned_is_not_copied() {
        let owned = vec!["a".to_string(), "b".to_string()];
        let places: Vec<*const u8> = owned.iter().map(|text| text.as_ptr()).collect();
        let texts = Texts::from(owned.clone());
        let shared: Arc<[String]> = owned.clone().into();
        for other in [
            Texts::from(&["a", "b"]),
            Texts::from(vec!["a", "b"]),
            Texts::from(&owned),
            Texts::from(&["a", "b"][..]),
            Texts::from(Arc::new(owned.clone())),
            Texts::from(Arc::clone(&shared)),
            texts.clone(),
        ] {
            assert_eq!(other.to_vec(), ["a", "b"]);
        }
        let kept = Texts::from(owned);
        let kept: Vec<*const u8> = kept.to_vec().into_iter().map(str::as_ptr).collect();
        assert_eq!(kept, places);
        let borrowed = Texts::from(Arc::clone(&shared));
        assert_eq!(borrowed.to_vec()[0].as_ptr(), shared[0].as_ptr());
        assert!(Texts::from(Vec::<String>::new()).is_empty());
    }
}
