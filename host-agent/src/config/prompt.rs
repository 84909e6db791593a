//! The prompt of a shell as people write it: a regular expression over the end of a line, of the shapes
//! that prompts have. What cannot be turned into literal ends is refused, because a prompt that is taken
//! too widely types into the wrong program.

/// At most so many ends come of one pattern.
const ENDS: usize = 16;

/// The literal ends that a pattern stands for: literals, escaped literals and sets of literals, with
/// an optional blank and an anchor at the end. Empty when it holds anything else.
pub fn prompt_ends(pattern: &str) -> Vec<String> {
    let mut rest = pattern.strip_suffix('$').unwrap_or(pattern);
    if rest.ends_with('\\') {
        // The last `$` was a literal one.
        rest = pattern;
    }
    for blank in [" ?", " *", " +", r"\s*", r"\s?", r"\s+", " "] {
        rest = rest.strip_suffix(blank).unwrap_or(rest);
    }
    rest = rest.strip_prefix('^').unwrap_or(rest);
    let mut found = vec![String::new()];
    let mut chars = rest.chars();
    while let Some(c) = chars.next() {
        let choices: Vec<char> = match c {
            '\\' => match chars.next() {
                Some(it) if !it.is_alphanumeric() => vec![it],
                _ => return Vec::new(),
            },
            '[' => {
                let set: String = chars.by_ref().take_while(|it| *it != ']').collect();
                match members(&set) {
                    Some(members) => members,
                    None => return Vec::new(),
                }
            }
            '.' | '*' | '+' | '?' | '(' | ')' | '|' | '{' | '}' | ']' | '^' | '$' => return Vec::new(),
            it => vec![it],
        };
        found = found.iter().flat_map(|head| choices.iter().map(move |it| format!("{head}{it}"))).collect();
        if found.len() > ENDS {
            return Vec::new();
        }
    }
    found
}

/// The members of a set of literals and ranges of digits or letters; none for any other.
fn members(set: &str) -> Option<Vec<char>> {
    let mut found = Vec::new();
    let mut rest: &[char] = &set.chars().collect::<Vec<char>>();
    loop {
        rest = match rest {
            [] => return (!found.is_empty()).then_some(found),
            [from, '-', to, tail @ ..] if from.is_ascii_alphanumeric() && to.is_ascii_alphanumeric() => {
                found.extend(*from..=*to);
                tail
            }
            ['^' | '-' | '\\' | '[' | '&' | '~', ..] => return None,
            [one, tail @ ..] => {
                found.push(*one);
                tail
            }
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usual_prompts_become_ends_and_the_rest_is_refused() {
        assert_eq!(prompt_ends("[#$] ?$"), ["#", "$"]);
        assert_eq!(prompt_ends("~ # $"), ["~ #"]);
        assert_eq!(prompt_ends(r"root@vm:~# $"), ["root@vm:~#"]);
        assert_eq!(prompt_ends(r"\$ ?$"), ["$"]);
        assert_eq!(prompt_ends(r"\$"), ["$"]);
        let ten: Vec<String> = (0..10).map(|n| format!("root@web{n}:~#")).collect();
        assert_eq!(prompt_ends("root@web[0-9]:~# $"), ten);
        for wide in
            ["[a-z][a-z]#", "[9-0]#", "[-a]#", r"web-\d+:~# $", ".*# ?$", "(a|b)$", "[^#]$", r"\w+$", "[a-z]"]
        {
            assert!(prompt_ends(wide).is_empty(), "{wide}");
        }
    }
}
