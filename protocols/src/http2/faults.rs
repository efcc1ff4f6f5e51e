//! What a message may be wrong in, and what `weir.anomalies` calls that.

/// What is wrong with a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    ConnectionField,
    UpperCaseName,
    InvalidName,
    EmptyName,
    LineBreak,
    Nul,
    SpaceAround,
    PseudoRepeated,
    PseudoUnknown,
    PseudoMissing,
    PseudoAfterField,
    PseudoInTrailers,
    PseudoMisplaced,
    InvalidMethod,
    InvalidScheme,
    InvalidPath,
    InvalidStatus,
    Userinfo,
    HostDiffers,
    HostRepeated,
    LengthInvalid,
    LengthDiffers,
    LengthRepeated,
    LengthUntrue,
    FramingInTrailer,
    FramingLookAlike,
    StatusRepeated,
    TableSize,
}

impl Fault {
    /// What `weir.anomalies` calls it.
    pub fn name(self) -> &'static str {
        match self {
            Self::ConnectionField => "connection_specific_header",
            Self::UpperCaseName => "upper_case_header_name",
            Self::InvalidName => "invalid_header_name",
            Self::EmptyName => "empty_header_name",
            Self::LineBreak => "line_break_in_header",
            Self::Nul => "nul",
            Self::SpaceAround => "space_around_header_value",
            Self::PseudoRepeated => "pseudo_header_repeated",
            Self::PseudoUnknown => "pseudo_header_unknown",
            Self::PseudoMissing => "pseudo_header_missing",
            Self::PseudoAfterField => "pseudo_header_after_header",
            Self::PseudoInTrailers => "pseudo_header_in_trailers",
            Self::PseudoMisplaced => "pseudo_header_misplaced",
            Self::InvalidMethod => "invalid_method",
            Self::InvalidScheme => "invalid_scheme",
            Self::InvalidPath => "invalid_path",
            Self::InvalidStatus => "invalid_status",
            Self::Userinfo => "userinfo_in_authority",
            Self::HostDiffers => "host_differs",
            Self::HostRepeated => "host_repeated",
            Self::LengthInvalid => "content_length_invalid",
            Self::LengthDiffers => "content_length_differs",
            Self::LengthRepeated => "content_length_repeated",
            Self::LengthUntrue => "content_length_untrue",
            Self::FramingInTrailer => "framing_in_trailer",
            Self::FramingLookAlike => "framing_lookalike",
            Self::StatusRepeated => "grpc_status_repeated",
            Self::TableSize => "table_size_beyond_settings",
        }
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_anomaly_is_documented() {
        let documented = include_str!("../../../docs/http2.md");
        let mut found = 0;
        for source in [include_str!("faults.rs"), include_str!("frame.rs")] {
            let names = source.lines().filter_map(|line| {
                let (_, name) = line.trim().strip_prefix("Self::")?.split_once(" => \"")?;
                name.strip_suffix("\",")
            });
            for name in names {
                assert!(documented.contains(&format!("`{name}`")), "{name}");
                found += 1;
            }
        }
        assert!(found > 25, "{found}");
    }
}
