//! The N-of-M rule: how many rounds must fail, of how many, and how many must pass to be well again.

/// When a scenario counts as failed and when as well again. Checked when it is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    fails: u32,
    of: u32,
    recover: u32,
}

/// A rule that makes no sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a rule of {fails} failures in {of} rounds and {recover} to recover makes no sense: \
     need 1 <= failures <= rounds <= 100 and 1 <= recover <= 100"
)]
pub struct BadRule {
    fails: u32,
    of: u32,
    recover: u32,
}

impl Rule {
    /// The longest window, in rounds: bounds what is kept as evidence.
    pub const MAX: u32 = 100;

    /// `fails` of the last `of` rounds make a failure, `recover` passes in a row end it.
    ///
    /// # Errors
    /// When one of them is zero, `fails` exceeds `of`, or one exceeds [`Rule::MAX`].
    pub fn new(fails: u32, of: u32, recover: u32) -> Result<Rule, BadRule> {
        let sound = fails >= 1 && fails <= of && of <= Rule::MAX && (1..=Rule::MAX).contains(&recover);
        if sound { Ok(Rule { fails, of, recover }) } else { Err(BadRule { fails, of, recover }) }
    }

    /// One failure is enough, one pass ends it: for what the guest or QEMU says itself.
    pub const AT_ONCE: Rule = Rule { fails: 1, of: 1, recover: 1 };

    /// How many rounds must fail.
    pub fn fails(self) -> u32 {
        self.fails
    }

    /// How many rounds are looked at.
    pub fn of(self) -> u32 {
        self.of
    }

    /// How many rounds in a row must pass.
    pub fn recover(self) -> u32 {
        self.recover
    }
}

impl std::fmt::Display for Rule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} of {}", self.fails, self.of)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_that_can_never_be_met_is_refused() {
        assert!(Rule::new(3, 2, 1).is_err());
        assert!(Rule::new(0, 2, 1).is_err());
        assert!(Rule::new(1, 1, 0).is_err());
        assert!(Rule::new(1, 101, 1).is_err());
        assert_eq!(Rule::new(1, 1, 1), Ok(Rule::AT_ONCE));
        assert_eq!(Rule::new(2, 3, 2).map(|it| it.to_string()), Ok("2 of 3".to_owned()));
    }
}
