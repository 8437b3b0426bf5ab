//! Questions about backups. Changes nothing that is kept.

use rubine_base::clock::unix_millis;

use super::{Answer, Details, Request, Service, Setup, probe_name};
use crate::catalog::{Catalog, Known};
use crate::error::BackupError;
use crate::figures::TargetState;
use crate::layout::BackupId;
use crate::restore::log::Log;
use crate::retention;
use crate::source::Source;
use crate::store::{Store, probe};

pub(super) fn answer(
    service: &Service,
    setup: &Setup,
    _source: &dyn Source,
    request: &Request,
) -> Result<Answer, BackupError> {
    let store = setup.store()?;
    if *request == Request::Test {
        let result = probe(&*store, &probe_name());
        note_probe(service, &result);
        return result.map(|()| Answer::Done);
    }
    let catalog = Catalog::read(&*store, &mut Known::default())?;
    service.note(&catalog);
    match request {
        Request::Info(id) => details(&*store, &catalog, id).map(|it| Answer::Info(Box::new(it))),
        Request::PrunePlan => {
            let plan = retention::plan(&catalog, setup.options.retention, unix_millis());
            Ok(Answer::Pruned(plan))
        }
        _ => Ok(Answer::Listed(Box::new(catalog))),
    }
}

/// Notes whether the target does what it is asked.
pub(super) fn note_probe(service: &Service, result: &Result<(), BackupError>) {
    match result {
        Ok(()) => service.figures.set_target(TargetState::Good, ""),
        Err(error) => service.figures.set_target(TargetState::Bad, &error.to_string()),
    }
}

fn details(store: &dyn Store, catalog: &Catalog, id: &BackupId) -> Result<Details, BackupError> {
    let entry = catalog.find(id).cloned();
    let entry = entry.ok_or_else(|| BackupError::NoSuchBackup(id.to_string()))?;
    let log = Log::list(store, id)?;
    Ok(Details {
        segments: log.segments.len() as u64,
        segment_bytes: log.segments.iter().map(|it| it.bytes).sum(),
        covers_until: log.covers_until(),
        entry,
    })
}
