//! Programs of the port map that the kernel has, whoever loaded them. They are known by their names and, in their
//! settings, the network namespace: so that whoever takes them away need not know what they were told.

use crate::{
    LoadError,
    cgroup::HOOKS,
    port_map::{PROGRAMS, Raw, TAKING},
};
use aya::{
    maps::{Array, Map, MapData, MapError, MapInfo},
    programs::{ProgramError, ProgramInfo, loaded_programs},
};

/// One of them.
pub(crate) struct Loaded {
    pub info: ProgramInfo,
    pub settings: Raw,
}

/// Every one for this network namespace. One that is attached nowhere is freed by the kernel, so all of them are attached,
/// but for those that this process has just loaded.
pub(crate) fn of_namespace(netns: u64) -> Result<Vec<Loaded>, LoadError> {
    let mut found = Vec::new();
    for info in loaded_programs() {
        let info = match info {
            Ok(info) => info,
            // Freed since it was listed.
            Err(ProgramError::SyscallError(error))
                if error.io_error.kind() == std::io::ErrorKind::NotFound =>
            {
                continue;
            }
            Err(error) => return Err(failed(error)),
        };
        let is_ours = |name: &str| HOOKS.iter().any(|(_, hook)| *hook == name) || PROGRAMS.contains(&name);
        if !info.name_as_str().is_some_and(is_ours) {
            continue;
        }
        if let Some(settings) = settings(&info).filter(|settings| settings.netns == netns) {
            found.push(Loaded { info, settings });
        }
    }
    Ok(found)
}

/// From now on those of this namespace take no new connection; what they have taken goes on.
///
/// # Errors
/// They can't be listed or told (CAP_SYS_ADMIN is missing).
pub fn stop_port_map(netns: u64) -> Result<(), LoadError> {
    for mut taking in taking(netns)? {
        taking.set(0, 0, 0).map_err(map_failed)?;
    }
    Ok(())
}

/// True if those of this namespace have been [stopped](stop_port_map).
///
/// # Errors
/// They can't be listed or asked (CAP_SYS_ADMIN is missing).
pub fn is_port_map_stopped(netns: u64) -> Result<bool, LoadError> {
    for taking in taking(netns)? {
        if taking.get(&0, 0).map_err(map_failed)? == 0 {
            return Ok(true);
        }
    }
    Ok(false)
}

fn taking(netns: u64) -> Result<Vec<Array<MapData, u32>>, LoadError> {
    let programs = of_namespace(netns)?;
    let maps = programs.iter().filter_map(|program| map(&program.info, TAKING));
    maps.map(|data| Array::try_from(Map::Array(data)).map_err(map_failed))
        .collect()
}

fn map_failed(source: MapError) -> LoadError {
    LoadError::Map { name: TAKING, source }
}

pub(crate) fn failed(cause: ProgramError) -> LoadError {
    LoadError::of_program("of the port map")(cause)
}

/// What a program was told.
fn settings(info: &ProgramInfo) -> Option<Raw> {
    let array = Array::<MapData, Raw>::try_from(Map::Array(map(info, ".rodata")?)).ok()?;
    array.get(&0, 0).ok()
}

/// A program's map by (the end of) its name.
fn map(info: &ProgramInfo, name: &str) -> Option<MapData> {
    let ids = info.map_ids().ok()??;
    let id = ids.into_iter().find(|id| {
        MapInfo::from_id(*id).is_ok_and(|map| map.name_as_str().is_some_and(|it| it.ends_with(name)))
    })?;
    MapData::from_id(id).ok()
}
