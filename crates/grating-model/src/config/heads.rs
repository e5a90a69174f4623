//! Widths of the layers and their attention heads.

use super::raw::{MAX_WIDTH, Raw, field};
use crate::error::Result;

/// Widths of the layers and their attention heads.
pub(super) struct HeadShape {
    pub(super) hidden: usize,
    pub(super) heads: usize,
    pub(super) kv_heads: usize,
    pub(super) head_dim: usize,
}

impl Raw {
    /// Widths of the layers and their attention heads, checked against each other. Where they are not `free`
    /// there is a key head for each query head, and they share out the width.
    pub(super) fn heads(&self, free: bool) -> Result<HeadShape> {
        let hidden = self.size("hidden_size", self.hidden_size, MAX_WIDTH)?;
        let heads = self.size("num_attention_heads", self.num_attention_heads, MAX_WIDTH)?;
        let kv_heads = match self.num_key_value_heads {
            Some(n) if free => self.size("num_key_value_heads", Some(n), MAX_WIDTH)?,
            _ => heads,
        };
        if heads % kv_heads != 0 {
            return Err(field(
                "num_key_value_heads",
                format!("a divisor of {heads} heads"),
                kv_heads,
            ));
        }
        let head_dim = match self.head_dim {
            Some(d) if free => self.size("head_dim", Some(d), MAX_WIDTH)?,
            _ if hidden % heads == 0 => hidden / heads,
            _ => {
                let expected = format!("a divisor of hidden_size {hidden}");
                return Err(field("num_attention_heads", expected, heads));
            }
        };
        Ok(HeadShape { hidden, heads, kv_heads, head_dim })
    }
}
