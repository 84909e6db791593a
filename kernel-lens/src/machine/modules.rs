//! Modules with their state and their users: `struct module`.

use vmward_kernel_facts::machine::{LoadedModule, ModuleState, Taint};

use super::object::Object;
use crate::{Kernel, ReadError};

/// Users of a module at most.
const MAX_USERS: usize = 1024;

/// Reads them, the one loaded last first.
///
/// # Errors
/// What a read of one said, or why the list is torn.
pub fn read(kernel: &Kernel<'_>) -> Result<Vec<LoadedModule>, ReadError> {
    let modules = kernel.modules();
    if modules.broken().is_some() {
        return Err(ReadError::Inconsistent { what: "the list of modules", virt: 0 });
    }
    modules.iter().map(|it| one(kernel, it)).collect()
}

fn one(kernel: &Kernel<'_>, module: &crate::Module) -> Result<LoadedModule, ReadError> {
    let at = Object::new(kernel, "module", module.address);
    let state = kernel.types.enumerator("MODULE_STATE_COMING").map(|it| it as u64);
    let going = kernel.types.enumerator("MODULE_STATE_GOING").map(|it| it as u64);
    let now = Some(at.number("state")?);
    let code = module.parts.iter().find(|it| it.text).or_else(|| module.parts.first());
    let len = |it: &crate::ModulePart| it.range.end.saturating_sub(it.range.start);
    Ok(LoadedModule {
        name: module.name.clone(),
        address: code.map_or(0, |it| it.range.start),
        bytes: module.parts.iter().map(len).fold(0, u64::saturating_add),
        state: match now {
            _ if now == state => ModuleState::Coming,
            _ if now == going => ModuleState::Going,
            _ => ModuleState::Live,
        },
        // One is the kernel's own (`MODULE_REF_BASE`).
        references: at.number("refcnt").ok().map(|it| it.saturating_sub(1)),
        used_by: users(at).unwrap_or_default(),
        taints: Taint::of(at.number("taints").unwrap_or(0)),
    })
}

/// Modules that need it: `struct module_use` in `source_list`.
fn users(module: Object<'_, '_>) -> Result<Vec<String>, ReadError> {
    let mut users = Vec::new();
    for link in module.list("source_list")?.into_iter().take(MAX_USERS) {
        let of = Object::around(module.kernel, "module_use", "source_list", link)?;
        if let Some(user) = of.follow("source", "module")? {
            users.push(user.text("name")?);
        }
    }
    Ok(users)
}
