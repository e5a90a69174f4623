//! Keys and queries of distances between tokens, bound to weights.

use std::sync::OnceLock;

use grating_backend::{ByDistance, Distances, Ops, Then};

use super::linear::Linear;
use crate::error::Result;
use crate::spec::{DistanceMap, DistanceSpec};
use crate::weights::LayerWeights;

/// What makes keys and queries of distances, and what it has made of the one table that all chunks share.
pub(crate) struct Distance<'w, B: Ops> {
    distances: Distances,
    keys: Option<Map<'w, B>>,
    queries: Option<Map<'w, B>>,
    made: OnceLock<[Option<B::Tensor>; 2]>,
}

enum Map<'w, B: Ops> {
    /// The block's own map.
    Shared,
    Own(Linear<'w, B>),
}

impl<'w, B: Ops> Distance<'w, B> {
    pub(crate) fn bind(weights: &LayerWeights<'w, B>, spec: &DistanceSpec) -> Result<Self> {
        let map = |map: &DistanceMap| match map {
            DistanceMap::Shared => Ok(Map::Shared),
            DistanceMap::Own(map) => Linear::bind_then(weights, map, Then::Attended).map(Map::Own),
        };
        Ok(Distance {
            distances: spec.distances,
            keys: spec.keys.as_ref().map(map).transpose()?,
            queries: spec.queries.as_ref().map(map).transpose()?,
            made: OnceLock::new(),
        })
    }

    /// Keys and queries, made with the first chunk. `table` is `[rows, hidden]`; `key` and `query` are the block's maps.
    pub(crate) fn of(
        &self,
        ops: &B,
        table: &B::Tensor,
        key: &Linear<'w, B>,
        query: &Linear<'w, B>,
    ) -> Result<ByDistance<'_, B::Tensor>> {
        if self.made.get().is_none() {
            let make = |map: &Option<Map<'w, B>>, shared: &Linear<'w, B>| match map {
                None => Ok(None),
                Some(Map::Shared) => shared.forward(ops, table).map(Some),
                Some(Map::Own(map)) => map.forward(ops, table).map(Some),
            };
            let made = [make(&self.keys, key)?, make(&self.queries, query)?];
            // Another thread's are the same.
            _ = self.made.set(made);
        }
        let [keys, queries] = self.made.get().expect("set above");
        Ok(ByDistance { distances: self.distances, keys: keys.as_ref(), queries: queries.as_ref() })
    }
}
