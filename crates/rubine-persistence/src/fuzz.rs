//! What the fuzz targets call. Each takes any bytes and panics only where an invariant is broken.

use crate::log::LogReader;
use crate::manifest::Manifest;

/// Units follow each other without gaps, within the file.
pub fn log(bytes: &[u8]) {
    let mut reader = LogReader::new(bytes, 0);
    let mut end = 0;
    while let Ok(Some(unit)) = reader.next_unit() {
        assert_eq!(unit.start, end, "units follow each other");
        assert!(
            unit.start < unit.end && unit.end <= bytes.len() as u64,
            "a unit lies within the file"
        );
        for (bytes, args) in unit.commands() {
            assert!(!args.is_empty(), "a command has a name");
            for arg in args {
                assert!(arg.of(bytes).len() == arg.len, "arguments lie within the unit");
            }
        }
        end = unit.end;
    }
}

/// What is accepted is written so that it is read the same.
pub fn manifest(bytes: &[u8]) {
    if let Ok(manifest) = Manifest::parse(bytes)
        && !manifest.format().is_empty()
    {
        assert_eq!(
            Manifest::parse(&manifest.format()).as_ref(),
            Ok(&manifest),
            "a manifest survives"
        );
    }
}
