//! Long runs of combining marks, in the order that a normalizer gives them.
//!
//! Unicode's normal forms sort the marks behind a base by their combining classes, and compose the base with some of
//! them: what stands at the end of a run of megabytes can belong to its beginning. A text whose marks are sorted is the
//! same to a normalizer (it is canonically equivalent), and in it nothing moves any more, so that it can be cut. Here
//! the marks of a run are read in that order, one class after the other, without keeping it: first those that the base
//! is composed with, then the others.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;

use super::per_character::PerCharacter;
use super::source::Source;
use crate::tokenize::rules::{
    Form, MANY_MARKS, Rules, decomposed, first_class, is_starter, normal_form,
};

/// Marks of each class that are looked at for what the base composes with; more never do.
const OF_A_CLASS: usize = 8;

/// Bytes between places of a sorted run that are known, and how many of them are.
const SPACING: usize = 64;
const KNOWN: usize = 256;

/// Characters before a run that its base may be composed of.
const BASE: usize = 8;

/// The runs of marks of a piece, in order.
#[derive(Default)]
pub(super) struct Marks {
    runs: Vec<Run>,
    /// Which characters are left out before marks are sorted, so that they part none.
    left_out: PerCharacter<bool>,
}

struct Run {
    start: usize,
    end: usize,
    /// Where it is not read as it is written.
    order: Option<Order>,
    /// Whether it is in its final order as it is read.
    settled: bool,
}

struct Order {
    /// What the base is composed with.
    first: Vec<char>,
    /// The classes of the others: where each begins in the run as it is read, and of how many marks it is less.
    classes: Vec<Class>,
    /// The last place in the run as it is read, and where its mark is in the source; and some before it: a piece begins
    /// within the one before it.
    last: Cell<(usize, usize)>,
    known: RefCell<VecDeque<(usize, usize)>>,
}

#[derive(Clone, Copy)]
struct Class {
    class: u8,
    start: usize,
    skipped: usize,
}

/// What a run has of each class.
struct Census {
    marks: Box<[usize; 256]>,
    bytes: Box<[usize; 256]>,
    /// The first ones, in order.
    first: Vec<(u8, char)>,
    sorted: bool,
    /// Whether every one is of a single class, or left out.
    simple: bool,
}

impl Marks {
    /// Forgets runs that end before a place, from which a piece is read.
    pub(super) fn begin(&mut self, at: usize) {
        self.runs.retain(|run| run.end > at);
    }

    /// The character at a place of the source, as it is read. (In runs that are sorted a place is one of what is read.)
    pub(super) fn char_at(
        &mut self,
        source: Source<'_>,
        at: usize,
        form: Form,
        rules: &Rules,
    ) -> Option<char> {
        if self.run(at).is_none() {
            let character = source.char_at(at)?;
            let left_out = &mut self.left_out;
            // What is left out parts no marks, and a run may begin with it: what stands there in the end is another mark.
            let mut is_mark = |c: &char| {
                let known = || left_out.get(*c);
                !is_starter(*c, form)
                    || known().unwrap_or_else(|| {
                        let left_out_now = rules.deletes_before_marks(*c);
                        left_out.insert(*c, left_out_now);
                        left_out_now
                    })
            };
            if !is_mark(&character) {
                return Some(character);
            }
            let run = Run::around(source, at, form, &mut is_mark);
            self.runs.insert(self.place(at), run);
        }
        match self.run(at) {
            Some(Run { start, order: Some(order), .. }) => {
                Some(order.char_at(source, *start, at - start, form))
            }
            _ => source.char_at(at),
        }
    }

    fn run(&self, at: usize) -> Option<&Run> {
        self.runs.get(self.place(at)).filter(|run| run.start <= at)
    }

    /// The first run that does not end before a place.
    fn place(&self, at: usize) -> usize {
        self.runs.partition_point(|run| run.end <= at)
    }

    /// Whether the mark at a place, if it is one, stands where it does in the end.
    pub(super) fn is_settled(&self, at: usize) -> bool {
        self.run(at).is_none_or(|run| run.settled)
    }

    /// Whether a place is in a run that is not read as it is written.
    pub(super) fn moves(&self, at: usize) -> bool {
        self.run(at).is_some_and(|run| run.order.is_some())
    }
}

impl Run {
    fn around(
        source: Source<'_>,
        at: usize,
        form: Form,
        is_mark: &mut impl FnMut(&char) -> bool,
    ) -> Self {
        let back = source.before(at).take_while(|c| is_mark(c));
        let start = at - back.map(char::len_utf8).sum::<usize>();
        let (mut end, mut count) = (start, 0);
        for mark in source.chars_at(start).take_while(|c| is_mark(c)) {
            end += mark.len_utf8();
            count += 1;
        }
        if count <= MANY_MARKS {
            return Run { start, end, order: None, settled: true };
        }
        let marks = || source.chars_at(start).take(count);
        let census = Census::of(marks(), form);
        let Some(composed) = census.composed(&base(source, start), form) else {
            return Run { start, end, order: None, settled: false };
        };
        let order = Order::of(&census, &composed);
        let first = order.first.iter().copied();
        let as_written = census.sorted && first.eq(marks().take(order.first.len()));
        Run { start, end, order: Some(order).filter(|_| !as_written), settled: true }
    }
}

/// What marks at `start` may be composed with.
fn base(source: Source<'_>, start: usize) -> String {
    let mut base: Vec<char> = source.before(start).take(BASE).collect();
    base.reverse();
    base.into_iter().collect()
}

impl Census {
    fn of(all: impl Iterator<Item = char>, form: Form) -> Self {
        let (mut marks, mut bytes) = (Box::new([0; 256]), Box::new([0; 256]));
        let (mut first, mut sorted, mut simple) = (Vec::new(), true, true);
        let mut last = (0, '\0');
        for mark in all {
            // Most long runs are of one mark.
            let class = if mark == last.1 { last.0 } else { first_class(mark, form) };
            let place = usize::from(class);
            if marks[place] < OF_A_CLASS {
                first.push((class, mark));
            }
            // Classes other than the first one's are those of a few Tibetan vowels.
            let known = class == 0 || mark == last.1;
            simple &= known || decomposed(mark, form).all(|c| first_class(c, form) == class);
            marks[place] += 1;
            bytes[place] += mark.len_utf8();
            sorted &= last.0 <= class;
            last = (class, mark);
        }
        first.sort_by_key(|(class, _)| *class);
        Census { marks, bytes, first, sorted, simple }
    }

    /// How many marks of each class the base is composed with. Nothing where that is not to be told, or marks that the
    /// base has itself go behind some of the run.
    fn composed(&self, base: &str, form: Form) -> Option<[usize; 256]> {
        let class = |mark: char| usize::from(first_class(mark, form));
        let marks_of = |text: &str| -> Vec<char> {
            text.chars().rev().take_while(|c| !is_starter(*c, form)).collect()
        };
        let own = marks_of(&normal_form(base, Form { composes: false, ..form }));
        let least = (1..256).find(|&class| self.marks[class] > 0).unwrap_or(256);
        if !self.simple || own.into_iter().any(|mark| class(mark) > least) {
            return None;
        }
        let mut gone = [0_usize; 256];
        if !form.composes {
            return Some(gone);
        }
        let marks = self.first.iter().filter(|(class, _)| *class > 0).map(|(_, mark)| *mark);
        let first: String = marks.clone().collect();
        for mark in marks.clone().flat_map(|mark| decomposed(mark, form)) {
            gone[class(mark)] += 1;
        }
        for mark in marks_of(&normal_form(&[base, &first].concat(), form)) {
            gone[class(mark)] = gone[class(mark)].saturating_sub(1);
        }
        // A mark that is two of which one is composed can be told from no other.
        let single = marks.clone().all(|mark| decomposed(mark, form).count() == 1);
        (single || gone.iter().all(|gone| *gone == 0)).then_some(gone)
    }
}

impl Order {
    fn of(census: &Census, composed: &[usize; 256]) -> Self {
        let mut seen = [0_usize; 256];
        let mut is_composed = |class: u8| {
            seen[usize::from(class)] += 1;
            seen[usize::from(class)] <= composed[usize::from(class)]
        };
        let all = census.first.iter().copied();
        let first: Vec<(u8, char)> = all.filter(|(class, _)| is_composed(*class)).collect();
        let mut start = first.iter().map(|(_, mark)| mark.len_utf8()).sum();
        let mut classes = Vec::new();
        for class in 0..=255_u8 {
            let place = usize::from(class);
            let skipped = composed[place];
            if census.marks[place] == skipped {
                continue;
            }
            classes.push(Class { class, start, skipped });
            let gone = first.iter().filter(|(of, _)| *of == class).map(|(_, mark)| mark.len_utf8());
            start += census.bytes[place] - gone.sum::<usize>();
        }
        let first = first.into_iter().map(|(_, mark)| mark).collect();
        Order { first, classes, last: Cell::new((usize::MAX, 0)), known: RefCell::default() }
    }

    /// The mark at a place of the run as it is read; `start` is where the run begins in the source.
    fn char_at(&self, source: Source<'_>, start: usize, place: usize, form: Form) -> char {
        let mut passed = 0;
        for mark in &self.first {
            if passed == place {
                return *mark;
            }
            passed += mark.len_utf8();
        }
        let next = self.classes.partition_point(|class| class.start <= place);
        let Class { class, start: from, skipped } = self.classes[next - 1];
        let mut known = self.known.borrow_mut();
        let last = self.last.get();
        let mut places = std::iter::once(&last).chain(known.iter().rev());
        let near = places.find(|(read, _)| (from..=place).contains(read));
        let (mut read, mut at, mut skip) = match near {
            Some((read, at)) => (*read, *at, 0),
            None => (from, start, skipped),
        };
        for mark in source.chars_at(at) {
            if first_class(mark, form) == class {
                match skip {
                    0 if read == place => {
                        self.last.set((read, at));
                        if known.back().is_none_or(|(last, _)| read.abs_diff(*last) >= SPACING) {
                            known.push_back((read, at));
                        }
                        if known.len() > KNOWN {
                            known.pop_front();
                        }
                        return mark;
                    }
                    0 => read += mark.len_utf8(),
                    _ => skip -= 1,
                }
            }
            at += mark.len_utf8();
        }
        // The places that are asked for are those of marks.
        char::REPLACEMENT_CHARACTER
    }
}
