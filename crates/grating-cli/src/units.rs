//! Sizes, shares and counts as people write them.

use std::ffi::OsStr;
use std::io::Read;
use std::time::Duration;

use grating::{Policy, RowCacheSize, TokenPolicy, WindowSize};

use crate::input;

/// A time: `500ms`, `2s`, `1.5m`; a bare number is seconds.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let expected = || "write a time such as 500ms, 2s or 1.5m".to_string();
    let text = text.trim();
    let split = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let number: f64 = number.parse().map_err(|_| expected())?;
    let seconds = match unit.trim() {
        "ms" => number / 1e3,
        "" | "s" => number,
        "m" | "min" => number * 60.0,
        _ => return Err(expected()),
    };
    Duration::try_from_secs_f64(seconds).map_err(|_| expected())
}

/// Bytes: `200MiB`, `1.5GB`, `64k`, `4096`. Without an `i` or with a bare letter: K, M, G are powers of 1024 when bare,
/// of 1000 with a `B`.
///
/// # Errors
/// What can be written, in words.
pub fn size(text: &str) -> Result<u64, String> {
    let expected = || "write a size such as 200MiB, 1GB or 4096".to_string();
    let text = text.trim();
    let split = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let number: f64 = number.parse().map_err(|_| expected())?;
    let factor: f64 = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1.0,
        "k" | "kib" => 1024.0,
        "m" | "mib" => 1024.0 * 1024.0,
        "g" | "gib" => 1024.0 * 1024.0 * 1024.0,
        "kb" => 1e3,
        "mb" => 1e6,
        "gb" => 1e9,
        _ => return Err(expected()),
    };
    let bytes = number * factor;
    match bytes {
        _ if bytes < 1.0 => Err("it must be at least one byte".into()),
        _ if bytes < u64::MAX as f64 => Ok(bytes as u64),
        _ => Err("it is more than any machine has; write a size such as 200MiB or 1GB".into()),
    }
}

/// Bytes a second: a [`size`], with or without `/s`.
pub(crate) fn rate(text: &str) -> Result<f64, String> {
    let size_of = text.trim();
    match size(size_of.strip_suffix("/s").unwrap_or(size_of)) {
        Ok(bytes) => Ok(bytes as f64),
        Err(_) => Err("write a rate such as 12GB/s".into()),
    }
}

/// Operations a second: `40T`, `500G`, `1.5e13`.
pub(crate) fn flops(text: &str) -> Result<f64, String> {
    let text = text.trim();
    let (number, factor) = match text.char_indices().last() {
        Some((at, 'k' | 'K')) => (&text[..at], 1e3),
        Some((at, 'M')) => (&text[..at], 1e6),
        Some((at, 'G')) => (&text[..at], 1e9),
        Some((at, 'T')) => (&text[..at], 1e12),
        Some((at, 'P')) => (&text[..at], 1e15),
        _ => (text, 1.0),
    };
    match number.parse::<f64>().map(|number| number * factor) {
        Ok(flops) if flops.is_finite() && flops > 0.0 => Ok(flops),
        _ => Err("write a number of operations a second, such as 40T".into()),
    }
}

/// Threads that compute.
pub(crate) fn threads(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(n) if (1..=grating::MAX_THREADS).contains(&n) => Ok(n),
        _ => Err(format!("it must be a whole number from 1 to {}", grating::MAX_THREADS)),
    }
}

/// Layers in memory at one time: a number, `all`, or `auto`.
///
/// # Errors
/// What can be written, in words.
pub fn window(text: &str) -> Result<WindowSize, String> {
    match text {
        "auto" => Ok(WindowSize::Auto),
        "all" => Ok(WindowSize::All),
        _ => match text.parse() {
            Ok(n) if n > 0 => Ok(WindowSize::Slots(n)),
            _ => Err("it must be a number of layers, at least 1, or all, or auto".into()),
        },
    }
}

/// Embedding rows to keep: a number, a share such as `10%`, `all`, or `auto`.
///
/// # Errors
/// What can be written, in words.
pub fn row_cache(text: &str) -> Result<RowCacheSize, String> {
    let expected = || "it must be a number of rows, a share such as 10%, all, or auto".to_string();
    match text {
        "auto" => Ok(RowCacheSize::Auto),
        "all" => Ok(RowCacheSize::All),
        _ => match text.strip_suffix('%') {
            Some(percent) => match percent.parse::<f64>() {
                Ok(p) if (0.0..=100.0).contains(&p) => Ok(RowCacheSize::Fraction(p / 100.0)),
                _ => Err(expected()),
            },
            None => text.parse().map(RowCacheSize::Rows).map_err(|_| expected()),
        },
    }
}

pub(crate) fn score(text: &str) -> Result<f32, String> {
    match text.parse::<f32>() {
        Ok(value) if value.is_finite() => Ok(value),
        _ => Err("it must be a number".into()),
    }
}

pub(crate) fn threshold(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(value) if value.is_finite() && value >= 0.0 => Ok(value),
        _ => Err("it must be a number, at least 0".into()),
    }
}

/// A file of more than this holds another thing.
const MAX_POLICY_BYTES: u64 = 1 << 20;

/// JSON, or what a file holds.
fn json_or_file(text: &OsStr) -> Result<Vec<u8>, String> {
    if let Some(json) = text.to_str().filter(|text| text.trim_start().starts_with(['{', '[', '"']))
    {
        return Ok(json.as_bytes().to_vec());
    }
    let mut json = Vec::new();
    let file = input::regular(text.as_ref());
    let read = file.and_then(|file| file.take(MAX_POLICY_BYTES).read_to_end(&mut json));
    read.map_err(|error| format!("it is no JSON object, and no file that can be read ({error})"))?;
    Ok(json)
}

/// A token policy by its name, as JSON, or in a file that holds it.
pub(crate) fn token_policy(text: &OsStr) -> Result<TokenPolicy, String> {
    let name = text.to_str().unwrap_or_default();
    if TokenPolicy::NAMES.iter().any(|known| name.split(':').next() == Some(known)) {
        return grating::token_policy(name.into());
    }
    let names = TokenPolicy::NAMES.join(", ");
    let json = json_or_file(text)
        .map_err(|reason| format!("{reason}; name one of {names}, or write a policy as JSON"))?;
    let value = serde_json::from_slice(&json).map_err(|error| error.to_string());
    value.and_then(grating::token_policy).map_err(|reason| grating::shown(&reason))
}

/// A policy as JSON, or a file that holds it.
pub(crate) fn policy(text: &OsStr) -> Result<Policy, String> {
    let example = || serde_json::to_string(&Policy::paper(0.4)).unwrap_or_default();
    let json = json_or_file(text)
        .map_err(|reason| format!("{reason}; a policy looks like {}", example()))?;
    let policy: Policy = serde_json::from_slice(&json)
        .map_err(|error| grating::shown(&error.to_string()))
        .map_err(|error| format!("{error}; a policy looks like {}", example()))?;
    policy.validate().map_err(|error| error.to_string())?;
    Ok(policy)
}

/// 0 to 1.
pub(crate) fn share(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(value) if (0.0..=1.0).contains(&value) => Ok(value),
        _ => Err("it must be a number from 0 to 1".into()),
    }
}

/// Between 0 and 1, without either.
pub(crate) fn probability(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(value) if value > 0.0 && value < 1.0 => Ok(value),
        _ => Err("it must be a number between 0 and 1, without either".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn token_policies_are_named_or_written() {
        let read = |text: &str| token_policy(text.as_ref());
        assert_eq!(read("lazy-llm:0.5"), Ok(TokenPolicy::lazy_llm().with_share(0.5)));
        let json = serde_json::to_string(&TokenPolicy::slim_infer()).unwrap();
        assert_eq!(read(&json), Ok(TokenPolicy::slim_infer()));
        for (text, reason) in [
            ("lazy", "lazy-llm"),
            ("lazy-llm:2", "share is 2"),
            ("{}", "missing field `stages`"),
            (r#"{"stages":[],"min_tokens":1,"first":0,"last":0}"#, "stages is empty"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(reason), "{text}: {error}");
        }
    }

    #[test]
    fn times_are_read_as_they_are_written() {
        for (text, milliseconds) in [("500ms", 500), ("2", 2000), ("2s", 2000), (" 1.5 m", 90_000)]
        {
            assert_eq!(duration(text), Ok(Duration::from_millis(milliseconds)));
        }
        for wrong in ["", "s", "-1s", "2h", "1e3s", "9".repeat(400).as_str()] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn policies() {
        let paper = Policy::paper(0.4).with_first_layer(2);
        let json = serde_json::to_string(&paper).unwrap();
        assert_eq!(policy(json.as_ref()), Ok(paper.clone()));
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("policy.json");
        std::fs::write(&file, &json).unwrap();
        assert_eq!(policy(file.as_os_str()), Ok(paper));
        assert!(
            policy(r#"{"threshold": 1}"#.as_ref()).unwrap_err().contains("a policy looks like {")
        );
        assert!(policy(json.replace("0.4", "-0.4").as_ref()).unwrap_err().contains("threshold"));
        let missing = policy("no-such-file".as_ref()).unwrap_err();
        assert!(missing.contains("no file that can be read") && missing.contains("looks like {"));
        assert!(policy("[]".as_ref()).unwrap_err().contains("a policy looks like {"));
    }

    #[test]
    fn sizes() {
        assert_eq!(size("4096"), Ok(4096));
        assert_eq!(size("200MiB"), Ok(200 << 20));
        assert_eq!(size("200m"), Ok(200 << 20));
        assert_eq!(size("1.5 GB"), Ok(1_500_000_000));
        for wrong in ["", "MiB", "0", "-1", "1TBq", "1e3x", "inf"] {
            assert!(size(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn rates_of_links_and_computing() {
        for (text, bytes) in [("12GB/s", 12e9), ("1GiB", 1073741824.0), (" 500 MB/s", 5e8)] {
            assert_eq!(rate(text), Ok(bytes));
        }
        for (text, number) in [("40T", 4e13), ("1.5e13", 1.5e13), ("500G", 5e11)] {
            assert_eq!(flops(text), Ok(number));
        }
        assert!(rate("12/h").is_err() && rate("fast").is_err());
        assert!(flops("T").is_err() && flops("-1T").is_err() && flops("0").is_err());
    }

    #[test]
    fn more_threads_than_any_machine_has_are_refused() {
        assert_eq!((threads("1"), threads("1024")), (Ok(1), Ok(1024)));
        for wrong in ["0", "1025", "100000", "-1", "two"] {
            assert!(threads(wrong).unwrap_err().contains("from 1 to 1024"), "{wrong}");
        }
    }

    #[test]
    fn windows_and_row_caches() {
        assert_eq!(window("all"), Ok(WindowSize::All));
        assert_eq!(window("3"), Ok(WindowSize::Slots(3)));
        assert!(window("0").is_err());
        assert_eq!(row_cache("10%"), Ok(RowCacheSize::Fraction(0.1)));
        assert_eq!(row_cache("77"), Ok(RowCacheSize::Rows(77)));
        assert!(row_cache("101%").is_err() && row_cache("some").is_err());
    }
}
