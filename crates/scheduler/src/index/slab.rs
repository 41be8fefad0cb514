//! A vector with holes, addressed by typed ids: a host's id cannot be mistaken for a group's.

use std::fmt;
use std::marker::PhantomData;
use std::ops::{Index, IndexMut};

/// The place of a `T` in its [`Slab`]. Ids of removed things are given out again.
pub(crate) struct Id<T>(u32, PhantomData<fn() -> T>);

impl<T> Id<T> {
    pub(crate) fn from_index(index: usize) -> Self {
        Self(u32::try_from(index).expect("fewer than 2^32 of anything"), PhantomData)
    }

    pub(crate) fn from_raw(raw: u32) -> Self {
        Self(raw, PhantomData)
    }

    pub(crate) fn raw(self) -> u32 {
        self.0
    }

    pub(crate) fn index(self) -> usize {
        self.0 as usize
    }
}

impl<T> Clone for Id<T> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<T> Copy for Id<T> {}
impl<T> PartialEq for Id<T> {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}
impl<T> Eq for Id<T> {}
impl<T> fmt::Debug for Id<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}", self.0)
    }
}

#[derive(Debug)]
pub(crate) struct Slab<T> {
    items: Vec<Option<T>>,
    holes: Vec<Id<T>>,
}

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Self { items: Vec::new(), holes: Vec::new() }
    }
}

impl<T> Slab<T> {
    pub(crate) fn insert(&mut self, item: T) -> Id<T> {
        if let Some(id) = self.holes.pop() {
            self.items[id.index()] = Some(item);
            return id;
        }
        self.items.push(Some(item));
        Id::from_index(self.items.len() - 1)
    }

    pub(crate) fn remove(&mut self, id: Id<T>) -> Option<T> {
        let item = self.items.get_mut(id.index())?.take();
        if item.is_some() {
            self.holes.push(id);
        }
        item
    }

    pub(crate) fn len(&self) -> usize {
        self.items.len() - self.holes.len()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (Id<T>, &T)> {
        self.items.iter().enumerate().filter_map(|(i, item)| Some((Id::from_index(i), item.as_ref()?)))
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = (Id<T>, &mut T)> {
        self.items.iter_mut().enumerate().filter_map(|(i, item)| Some((Id::from_index(i), item.as_mut()?)))
    }

    pub(crate) fn clear(&mut self) {
        self.items.clear();
        self.holes.clear();
    }
}

impl<T> Index<Id<T>> for Slab<T> {
    type Output = T;
    fn index(&self, id: Id<T>) -> &T {
        self.items[id.index()].as_ref().expect("ids are dropped before what they name")
    }
}

impl<T> IndexMut<Id<T>> for Slab<T> {
    fn index_mut(&mut self, id: Id<T>) -> &mut T {
        self.items[id.index()].as_mut().expect("ids are dropped before what they name")
    }
}
