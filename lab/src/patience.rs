//! Limits of time on slow machines, such as emulated ones.

use std::{sync::OnceLock, time::Duration};

/// A limit of the lab's own, multiplied by the whole number in `WEIR_LAB_PATIENCE` where that is set.
pub(crate) fn patience(limit: Duration) -> Duration {
    static FACTOR: OnceLock<u32> = OnceLock::new();
    let factor = FACTOR.get_or_init(|| factor(std::env::var("WEIR_LAB_PATIENCE").ok().as_deref()));
    limit * *factor
}

fn factor(variable: Option<&str>) -> u32 {
    variable
        .and_then(|text| text.parse().ok())
        .unwrap_or(1)
        .clamp(1, 1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_only_grow() {
        for (variable, expected) in [(None, 1), (Some("10"), 10), (Some("0"), 1), (Some("much"), 1)] {
            assert_eq!(factor(variable), expected);
        }
    }
}
