//! Many short strings by number, in one buffer, found through a table of hashes or in sorted order.

/// Strings by number; those that were never given are empty.
#[derive(Clone, Default)]
pub(super) struct Strings {
    text: String,
    /// Where each string ends in `text`.
    ends: Vec<u32>,
}

impl Strings {
    /// Appends a string; `None` where the buffer would go past 4 GB.
    pub(super) fn push(&mut self, string: &str) -> Option<()> {
        self.text.push_str(string);
        self.ends.push(u32::try_from(self.text.len()).ok()?);
        Some(())
    }

    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    pub(super) fn get(&self, number: u32) -> &str {
        let number = number as usize;
        let start = if number == 0 { 0 } else { self.ends[number - 1] as usize };
        &self.text[start..self.ends[number] as usize]
    }
}

/// No entry.
const EMPTY: u32 = u32::MAX;

/// Numbers of strings by hash, with open addressing: 4 bytes an entry.
#[derive(Clone)]
pub(super) struct Index {
    /// A power of two of entries, at most two thirds of them taken.
    table: Vec<u32>,
}

impl Index {
    /// Of all strings that are not empty; of equal ones the last.
    pub(super) fn new(strings: &Strings) -> Self {
        let size = (strings.len() * 3 / 2 + 1).next_power_of_two();
        let mut index = Index { table: vec![EMPTY; size] };
        for number in 0..strings.len() as u32 {
            let string = strings.get(number);
            if !string.is_empty() {
                let place = index.place(strings, string);
                index.table[place] = number;
            }
        }
        index
    }

    /// Where a string is, or would be.
    fn place(&self, strings: &Strings, string: &str) -> usize {
        let mask = self.table.len() - 1;
        let mut place = hash(string.as_bytes()) as usize & mask;
        while self.table[place] != EMPTY && strings.get(self.table[place]) != string {
            place = (place + 1) & mask;
        }
        place
    }

    pub(super) fn find(&self, strings: &Strings, string: &str) -> Option<u32> {
        Some(self.table[self.place(strings, string)]).filter(|&number| number != EMPTY)
    }
}

/// Multiply and fold, eight bytes at a time. (The table is filled from a file once: nobody can make it slower by texts,
/// which are only looked up.)
fn hash(bytes: &[u8]) -> u64 {
    let fold = |state: u64, word: u64| {
        let product = u128::from(state ^ word) * u128::from(0x9E37_79B9_7F4A_7C15_u64);
        (product >> 64) as u64 ^ product as u64
    };
    let (words, rest) = bytes.as_chunks::<8>();
    let mut state =
        words.iter().fold(bytes.len() as u64 + 1, |s, w| fold(s, u64::from_le_bytes(*w)));
    let mut last = [0; 8];
    last[..rest.len()].copy_from_slice(rest);
    state = fold(state, u64::from_le_bytes(last) ^ 0xA076_1D64_78BD_642F);
    fold(state, 0xE703_7ED1_A0B4_28DB)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_are_found_by_number_and_by_text() {
        let all: Vec<String> = (0..5000).map(|n| "ab".repeat(n % 40) + &n.to_string()).collect();
        let mut strings = Strings::default();
        for (number, string) in all.iter().enumerate() {
            strings.push(if number == 7 { "" } else { string }).unwrap();
        }
        let index = Index::new(&strings);
        assert_eq!(strings.len(), 5000);
        for (number, string) in all.iter().enumerate().filter(|(number, _)| *number != 7) {
            assert_eq!(strings.get(number as u32), string);
            assert_eq!(index.find(&strings, string), Some(number as u32), "{string}");
        }
        assert_eq!(index.find(&strings, &all[7]), None);
        assert_eq!(index.find(&strings, ""), None);
        assert_eq!(Index::new(&Strings::default()).find(&Strings::default(), "a"), None);
    }
}
