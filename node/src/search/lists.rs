//! Lists of capabilities, each distinct one once: plants have many machines that can do the same.
//!
//! A list is judged once for a question, and so is its *shape*, the list without properties: when the processes
//! or materials of a shape do not fit, none of the lists with this shape is looked at.

use std::collections::HashMap;

use fmesh_proto::{
    kinds::{Capability, Slot},
    rules::coverage::{Coverage, Requirement, covers},
    taxonomy::Path,
};

use super::slab::Slab;

pub(super) type ListNumber = u32;

/// All lists in use.
#[derive(Debug, Default)]
pub(super) struct Lists {
    lists: Pool<Slot<Vec<Capability>>>,
    shapes: Pool<Slot<Vec<Capability>>>,
    /// Shape of each list, by number: a question needs no more of most lists.
    shape_of: Vec<u32>,
}

/// How a list meets a requirement; better is greater.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Verdict {
    No,
    Unknown,
    Covers,
    Core,
}

impl Verdict {
    fn of(required: &Requirement, capabilities: &Slot<Vec<Capability>>) -> Self {
        if *required == Requirement::default() {
            let known = capabilities.known().into_iter().flatten();
            return match known.into_iter().any(|capability| capability.core) {
                true => Self::Core,
                false => Self::Covers,
            };
        }
        match covers(required, capabilities) {
            Coverage::Covers { core: true } => Self::Core,
            Coverage::Covers { core: false } => Self::Covers,
            Coverage::Unknown(_) => Self::Unknown,
            Coverage::Not(_) => Self::No,
        }
    }
}

impl Lists {
    /// The number of a list, which is kept until it is given back as often as it was taken.
    pub(super) fn take(&mut self, capabilities: Slot<Vec<Capability>>) -> ListNumber {
        let name = name(&capabilities);
        if let Some(number) = self.lists.again(&name) {
            return number;
        }
        let shape = capabilities.clone().map(|mut capabilities| {
            for capability in &mut capabilities {
                capability.properties.clear();
            }
            capabilities
        });
        let shape_name = self::name(&shape);
        let shape = match self.shapes.again(&shape_name) {
            Some(number) => number,
            None => self.shapes.insert(shape_name, shape),
        };
        let number = self.lists.insert(name, capabilities);
        if number as usize == self.shape_of.len() {
            self.shape_of.push(shape);
        }
        self.shape_of[number as usize] = shape;
        number
    }

    /// A process alone, as a capacity states it: nothing is said about materials and properties.
    pub(super) fn take_process(&mut self, process: Path) -> ListNumber {
        self.take(Slot::Known(vec![Capability {
            process,
            core: false,
            materials: Vec::new(),
            properties: Vec::new(),
        }]))
    }

    /// The end of a `take`; nothing happens if there was none.
    pub(super) fn give_back(&mut self, number: impl Into<Option<ListNumber>>) {
        let Some(number) = number.into() else {
            return;
        };
        if self.lists.give_back(number).is_some() {
            self.shapes.give_back(self.shape_of[number as usize]);
        }
    }

    pub(super) fn get(&self, number: ListNumber) -> Option<&Slot<Vec<Capability>>> {
        self.lists.get(number)
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.lists.numbers.is_empty() && self.shapes.numbers.is_empty()
    }

    /// A verdict for each number.
    pub(super) fn judge(&self, required: &Requirement) -> Vec<Verdict> {
        let of_shape = Requirement {
            properties: Vec::new(),
            ..required.clone()
        };
        let shapes = self
            .shapes
            .map(Verdict::No, |shape| Verdict::of(&of_shape, shape));
        let judge = |(number, shape): (u32, &u32)| match shapes[*shape as usize] {
            fits if fits == Verdict::No || required.properties.is_empty() => fits,
            _ => match self.lists.get(number) {
                Some(capabilities) => Verdict::of(required, capabilities),
                None => Verdict::No,
            },
        };
        (0..).zip(&self.shape_of).map(judge).collect()
    }
}

/// The same text for the same list, and only for it.
fn name(capabilities: &Slot<Vec<Capability>>) -> String {
    match capabilities {
        Slot::Withheld => "withheld".into(),
        Slot::Unknown => "unknown".into(),
        Slot::Known(list) => serde_json::to_string(list)
            .expect("capabilities are texts, lists and maps with text keys"),
    }
}

/// Things by name, counted.
#[derive(Debug)]
struct Pool<T> {
    items: Slab<(String, usize, T)>,
    numbers: HashMap<String, u32>,
}

impl<T> Default for Pool<T> {
    fn default() -> Self {
        Self {
            items: Slab::default(),
            numbers: HashMap::new(),
        }
    }
}

impl<T> Pool<T> {
    fn again(&mut self, name: &str) -> Option<u32> {
        let number = *self.numbers.get(name)?;
        self.items.get_mut(number)?.1 += 1;
        Some(number)
    }

    fn insert(&mut self, name: String, item: T) -> u32 {
        let number = self.items.insert((name.clone(), 1, item));
        self.numbers.insert(name, number);
        number
    }

    /// The item, if this was its last holder.
    fn give_back(&mut self, number: u32) -> Option<T> {
        let (_, holders, _) = self.items.get_mut(number)?;
        *holders -= 1;
        if *holders > 0 {
            return None;
        }
        let (name, _, item) = self.items.remove(number)?;
        self.numbers.remove(&name);
        Some(item)
    }

    fn get(&self, number: u32) -> Option<&T> {
        self.items.get(number).map(|(_, _, item)| item)
    }

    fn map<U: Copy>(&self, none: U, mut each: impl FnMut(&T) -> U) -> Vec<U> {
        self.items.map(|| none, |(_, _, item)| each(item))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(text: &str) -> Slot<Vec<Capability>> {
        Slot::Known(serde_json::from_str(text).expect("capabilities"))
    }

    #[test]
    fn equal_lists_are_held_once_and_freed_with_the_last_holder() {
        let mut lists = Lists::default();
        let mill = r#"[{"process": "separating/milling"}]"#;
        let large =
            r#"[{"process": "separating/milling", "properties": [{"name": "x", "max": "800"}]}]"#;
        let a = lists.take(list(mill));
        let b = lists.take(list(mill));
        let c = lists.take(list(large));
        let d = lists.take(Slot::Withheld);
        assert_eq!(a, b);
        assert_eq!(
            (lists.lists.items.numbers(), lists.shapes.items.numbers()),
            (3, 2)
        );
        lists.give_back(a);
        assert!(lists.get(b).is_some());
        lists.give_back(b);
        assert!(lists.get(b).is_none());
        assert_eq!(
            lists.shapes.numbers.len(),
            2,
            "the large one has this shape, too"
        );
        lists.give_back(c);
        lists.give_back(d);
        assert!(lists.lists.numbers.is_empty() && lists.shapes.numbers.is_empty());
        assert_eq!(lists.take(list(large)), d, "numbers are used again");
    }

    #[test]
    fn every_list_is_judged_as_the_rule_says() {
        let mut lists = Lists::default();
        let all = [
            list(
                r#"[{"process": "separating/milling", "core": true, "properties": [{"name": "x", "max": "800"}]}]"#,
            ),
            list(
                r#"[{"process": "separating/milling", "properties": [{"name": "x", "max": "100"}]}]"#,
            ),
            list(r#"[{"process": "separating/milling"}]"#),
            list(r#"[{"process": "coating/painting", "core": true}]"#),
            list("[]"),
            Slot::Withheld,
            Slot::Unknown,
        ];
        let numbers: Vec<u32> = all.iter().map(|list| lists.take(list.clone())).collect();
        for (text, expected) in [
            (
                r#"{"name": "x", "value": "500"}"#,
                "Core No Unknown No No Unknown Unknown",
            ),
            ("", "Core Covers Covers No No Unknown Unknown"),
        ] {
            let properties = match text {
                "" => Vec::new(),
                text => vec![serde_json::from_str(text).expect("a property")],
            };
            let required = Requirement {
                process: Some("milling".into()),
                properties,
                ..Requirement::default()
            };
            let verdicts = lists.judge(&required);
            let told: Vec<String> = numbers
                .iter()
                .map(|n| format!("{:?}", verdicts[*n as usize]))
                .collect();
            assert_eq!(told.join(" "), expected, "{text}");
        }
        let verdicts = lists.judge(&Requirement::default());
        assert!(
            verdicts.iter().all(|verdict| *verdict >= Verdict::Covers),
            "nothing is required"
        );
    }
}
