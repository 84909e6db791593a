//! Paths of members: `thread.sp`, `mem[0].base`.

/// One step of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step<'a> {
    /// A member by its name, through structures without one.
    Member(&'a str),
    /// An element of an array.
    Element(u64),
}

/// Steps of a path at most.
const MAX_STEPS: usize = 32;

/// The steps of a path; `None` if it is not one.
pub(super) fn steps(path: &str) -> Option<Vec<Step<'_>>> {
    let mut steps = Vec::new();
    for part in path.split('.') {
        let (name, mut rest) = part.split_at(part.find('[').unwrap_or(part.len()));
        if name.is_empty() {
            return None;
        }
        steps.push(Step::Member(name));
        while !rest.is_empty() {
            let (index, behind) = rest.strip_prefix('[')?.split_once(']')?;
            steps.push(Step::Element(index.parse().ok()?));
            rest = behind;
        }
        if steps.len() > MAX_STEPS {
            return None;
        }
    }
    Some(steps)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_members_and_elements() {
        use Step::{Element, Member};
        assert_eq!(steps("thread.sp").unwrap(), [Member("thread"), Member("sp")]);
        assert_eq!(steps("mem[0].base").unwrap(), [Member("mem"), Element(0), Member("base")]);
        assert_eq!(steps("a[1][2]").unwrap(), [Member("a"), Element(1), Element(2)]);
        for wrong in ["", ".a", "a.", "a..b", "[1]", "a[", "a[x]", "a[1]b", "a[-1]"] {
            assert_eq!(steps(wrong), None, "{wrong}");
        }
        assert_eq!(steps(&"a.".repeat(1000)), None);
    }
}
