//! What has been found out about characters.

/// A value for each character that was asked for, in pages that are made when they are needed: texts have few scripts,
/// and runs of millions of characters are looked at.
pub(super) struct PerCharacter<T> {
    pages: Vec<Option<Box<[Option<T>; 256]>>>,
    /// How many there are.
    known: usize,
}

impl<T> Default for PerCharacter<T> {
    fn default() -> Self {
        PerCharacter { pages: Vec::new(), known: 0 }
    }
}

impl<T: Copy> PerCharacter<T> {
    pub(super) fn get(&self, character: char) -> Option<T> {
        let (page, place) = (character as usize / 256, character as usize % 256);
        self.pages.get(page)?.as_ref()?[place]
    }

    pub(super) fn insert(&mut self, character: char, value: T) {
        let (page, place) = (character as usize / 256, character as usize % 256);
        if self.pages.len() <= page {
            self.pages.resize_with(page + 1, || None);
        }
        let page = self.pages[page].get_or_insert_with(|| Box::new([None; 256]));
        self.known += usize::from(page[place].is_none());
        page[place] = Some(value);
    }

    pub(super) fn len(&self) -> usize {
        self.known
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_put_in_is_found_for_that_character_alone() {
        let mut all = PerCharacter::default();
        for character in ['a', '\0', char::MAX, 'é', 'a'] {
            all.insert(character, character as u32);
        }
        assert_eq!(all.len(), 4);
        assert_eq!((all.get('a'), all.get(char::MAX)), (Some(97), Some(char::MAX as u32)));
        assert_eq!((all.get('b'), all.get('\u{3000}')), (None, None));
    }
}
