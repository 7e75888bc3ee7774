//! The journal by itself: headers, seals, frames, checksums, numbers.

use std::path::Path;

use perseat_journal::Position;
use perseat_journal::inspect::{self, Inspected};

use super::{Report, chain};
use crate::backup::manifest::Manifest;

/// Checks every segment; gives those that opened, oldest first.
pub(super) fn check(path: &Path, manifest: Option<&Manifest>, report: &mut Report) -> anyhow::Result<Vec<Inspected>> {
    let mut segments = Vec::new();
    let (mut frames, mut entries, mut sealed) = (0u64, 0u64, 0u64);
    for segment in inspect::segments(path)? {
        let segment = match segment {
            Ok(segment) => segment,
            Err(error) => {
                report.findings.add(format_args!("journal: {}", chain(&error)));
                continue;
            }
        };
        let info = segment.info();
        let number = info.number;
        if info.damaged {
            report
                .findings
                .add(format_args!("journal: acknowledged frames are missing behind segment {number}"));
        }
        match inspect::hash_fits(&segment) {
            Ok(Some(true)) => sealed += 1,
            Ok(Some(false)) => report
                .findings
                .add(format_args!("journal: segment {number} is not what its seal says it was")),
            Ok(None) => {}
            Err(error) => report.findings.add(format_args!("journal: segment {number}: {error}")),
        }
        let found = inspect::frames(&segment)?;
        let end = found.last().map_or(0, |frame| u64::from(frame.offset) + u64::from(frame.bytes));
        if !found.is_empty() && end != info.bytes {
            report.findings.add(format_args!(
                "journal: segment {number} has frames up to {end}, and should up to {}",
                info.bytes
            ));
        }
        frames += found.len() as u64;
        entries += found.iter().map(|frame| u64::from(frame.entries)).sum::<u64>();
        segments.push(segment);
    }
    if let Some(manifest) = manifest.filter(|manifest| manifest.head > 0) {
        let end = segments.iter().map(Inspected::info).rfind(|info| info.entries > 0);
        let end = end.map(|info| info.end());
        let head = Position::from_bits(manifest.head);
        if end != Some(head) {
            report
                .findings
                .add(format_args!("journal: it ends at {end:?}; the manifest says {head:?}"));
        }
    }
    report.say(
        "journal",
        format!(
            "{} segments, {sealed} of them as sealed; {frames} frames one after the other, {entries} entries",
            segments.len()
        ),
    );
    Ok(segments)
}
