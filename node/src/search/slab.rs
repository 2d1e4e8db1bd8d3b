//! Things by number: numbers are small, stay while the thing stays, and are used again.

/// Numbered things.
#[derive(Debug)]
pub(super) struct Slab<T> {
    items: Vec<Option<T>>,
    free: Vec<u32>,
}

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Self {
            items: Vec::new(),
            free: Vec::new(),
        }
    }
}

impl<T> Slab<T> {
    pub(super) fn insert(&mut self, item: T) -> u32 {
        if let Some(number) = self.free.pop() {
            self.items[number as usize] = Some(item);
            return number;
        }
        let number =
            u32::try_from(self.items.len()).expect("an index holds far below 2^32 records");
        self.items.push(Some(item));
        number
    }

    pub(super) fn remove(&mut self, number: u32) -> Option<T> {
        let item = self.items.get_mut(number as usize)?.take()?;
        self.free.push(number);
        Some(item)
    }

    /// Takes out all that `which` names, with their numbers.
    pub(super) fn remove_if(&mut self, which: impl Fn(&T) -> bool) -> Vec<(u32, T)> {
        let mut removed = Vec::new();
        for number in 0..self.numbers() as u32 {
            if self.get(number).is_some_and(&which) {
                removed.extend(self.remove(number).map(|item| (number, item)));
            }
        }
        removed
    }

    pub(super) fn get(&self, number: u32) -> Option<&T> {
        self.items.get(number as usize)?.as_ref()
    }

    pub(super) fn get_mut(&mut self, number: u32) -> Option<&mut T> {
        self.items.get_mut(number as usize)?.as_mut()
    }

    /// All numbers are below this.
    pub(super) fn numbers(&self) -> usize {
        self.items.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, &T)> {
        let numbered = (0..).zip(&self.items);
        numbered.filter_map(|(number, item)| Some((number, item.as_ref()?)))
    }

    /// One value for each number, `none` for free ones.
    pub(super) fn map<U>(&self, none: impl Fn() -> U, each: impl FnMut(&T) -> U) -> Vec<U> {
        let mut each = each;
        let value = |item: &Option<T>| item.as_ref().map_or_else(&none, &mut each);
        self.items.iter().map(value).collect()
    }
}
