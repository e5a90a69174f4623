//! GGML's numbers for the types of tensors.

use crate::dtype::Dtype;

/// Number, name, and the type, if this crate has it.
const TABLE: [(u32, &str, Option<Dtype>); 30] = [
    (0, "F32", Some(Dtype::F32)),
    (1, "F16", Some(Dtype::F16)),
    (2, "Q4_0", Some(Dtype::Q4_0)),
    (3, "Q4_1", Some(Dtype::Q4_1)),
    (6, "Q5_0", Some(Dtype::Q5_0)),
    (7, "Q5_1", Some(Dtype::Q5_1)),
    (8, "Q8_0", Some(Dtype::Q8_0)),
    (9, "Q8_1", None),
    (10, "Q2_K", None),
    (11, "Q3_K", None),
    (12, "Q4_K", Some(Dtype::Q4K)),
    (13, "Q5_K", Some(Dtype::Q5K)),
    (14, "Q6_K", Some(Dtype::Q6K)),
    (15, "Q8_K", None),
    (16, "IQ2_XXS", None),
    (17, "IQ2_XS", None),
    (18, "IQ3_XXS", None),
    (19, "IQ1_S", None),
    (20, "IQ4_NL", None),
    (21, "IQ3_S", None),
    (22, "IQ2_S", None),
    (23, "IQ4_XS", None),
    (24, "I8", Some(Dtype::I8)),
    (25, "I16", Some(Dtype::I16)),
    (26, "I32", Some(Dtype::I32)),
    (27, "I64", Some(Dtype::I64)),
    (28, "F64", Some(Dtype::F64)),
    (29, "IQ1_M", None),
    (30, "BF16", Some(Dtype::BF16)),
    (39, "MXFP4", None),
];

/// The type of this number, or the name of what it stands for.
pub(super) fn dtype(number: u32) -> Result<Dtype, String> {
    match TABLE.iter().find(|row| row.0 == number) {
        Some((_, _, Some(dtype))) => Ok(*dtype),
        Some((_, name, None)) => Err(name.to_string()),
        None => Err(format!("type {number}")),
    }
}

/// The number of a type, if the format has it.
pub(super) fn number(dtype: Dtype) -> Option<u32> {
    TABLE.iter().find(|row| row.2 == Some(dtype)).map(|row| row.0)
}

/// Names of the types that can be read.
pub(super) fn names() -> String {
    let names: Vec<&str> = TABLE.iter().filter(|row| row.2.is_some()).map(|row| row.1).collect();
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_lead_there_and_back() {
        for (at, name, found) in TABLE {
            match found {
                Some(found) => {
                    assert_eq!((dtype(at), number(found)), (Ok(found), Some(at)));
                    assert_eq!(found.name(), name);
                }
                None => assert_eq!(dtype(at), Err(name.to_string())),
            }
        }
        assert_eq!(number(Dtype::F8E4M3), None);
        assert_eq!(dtype(99), Err("type 99".into()));
    }
}
