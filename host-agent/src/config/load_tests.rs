//! Whole configurations, right and wrong: what is said, and at which place.

use std::path::Path;

use super::*;
use crate::config::{FailRule, GuestEntry, L3, ProbeSpec, QmpPolicy};

fn captures() -> Vec<&'static str> {
    crate::capture::registry().iter().map(|it| it.name()).collect()
}

fn read(text: &str) -> Result<Loaded, Vec<String>> {
    let source = Source { file: "/etc/vmward.toml".into(), text: text.to_owned() };
    assemble(&source, Some(Path::new("/etc/vmward.toml")), &captures())
        .map_err(|e| e.problems.iter().map(ToString::to_string).collect())
}

/// The only problem of this file.
fn problem(text: &str) -> String {
    let mut all = read(text).unwrap_err();
    assert_eq!(all.len(), 1, "{all:?}");
    all.remove(0)
}

#[test]
fn an_empty_file_is_a_whole_configuration() {
    let loaded = read("").unwrap();
    assert_eq!(loaded.scenarios.keys().collect::<Vec<_>>(), ["app-label", "kernel-trouble", "shell-answers"]);
    assert_eq!(loaded.diagnoses.keys().collect::<Vec<_>>(), ["default", "quick"]);
    assert!(loaded.config.discovery.proc);
    let policy = loaded.config.policy_for("any", None);
    assert!(!policy.l2, "a guest is never paused unless somebody opted in");
    assert_eq!(policy.sysrq.as_str(), "wlmpqt", "z leaves the guest's tracing off");
}

#[test]
fn the_shipped_quick_diagnosis_sends_nothing_to_the_guest() {
    let loaded = read("").unwrap();
    assert!(loaded.diagnoses["quick"].captures.iter().all(|it| it.rung <= vmward_model::Rung::L1));
    let ProbeSpec::ConsoleCommand(probe) = &loaded.scenarios["shell-answers"].probe else {
        panic!("it types a command")
    };
    assert_eq!(probe.wake, crate::config::Wake::Never);
    assert!(probe.prompt.regex().is_match("root@db1:~# "));
    assert!(probe.expect.regex().is_match(" 02:11:01 up 3 min,  load average: 0.00, 0.01, 0.05"));
    assert_eq!(loaded.scenarios["shell-answers"].fail, FailRule { fails: 2, of: 3 });
}

#[test]
fn the_sample_configuration_is_well_and_says_what_is_built_in() {
    let text = include_str!("../../../packaging/vmward.toml");
    let loaded = read(text).unwrap();
    assert_eq!(loaded.config.state, crate::config::StateConfig::default());
    assert_eq!(loaded.config.discovery, crate::config::Discovery::default());
    assert_eq!(loaded.config.policy_for("other", None), crate::config::GuestPolicy::default());
}

#[test]
fn the_sample_controller_is_well_once_its_comment_signs_are_gone() {
    let text = include_str!("../../../packaging/vmward.toml");
    let (_, sample) = text.split_once("# [[controller]]\n").unwrap();
    let keys = sample.lines().filter_map(|it| it.strip_prefix("# ")).filter(|it| it.contains(" = "));
    let sample = format!("[[controller]]\n{}", keys.collect::<Vec<_>>().join("\n"));
    let loaded = read(&sample).unwrap();
    assert_eq!(loaded.config.controllers.len(), 1);
}

#[test]
fn later_entries_win_and_only_for_what_they_say() {
    let loaded = read(
        r#"
        [guest-defaults]
        scenarios = ["kernel-trouble", "shell-answers"]
        policy = { l3 = "never" }

        [[guest]]
        name = "web*"
        qmp-policy = "brief"
        policy = { l2 = true }

        [[guest]]
        name = "web7"
        scenarios = ["app-label"]
        boot-deadline = "10m"
        policy = { l3 = "after-failure", sysrq = "wl" }
        "#,
    )
    .unwrap();
    let web7 = loaded.config.policy_for("web7", None);
    assert_eq!((web7.l2, web7.l3, web7.sysrq.as_str()), (true, L3::AfterFailure, "wl"));
    assert_eq!(web7.scenarios, ["app-label"]);
    assert_eq!(web7.qmp_policy, Some(QmpPolicy::Brief));
    let deadlines = (web7.boot_deadline.to_string(), web7.root_deadline.to_string());
    assert_eq!(deadlines, ("10m".to_owned(), "1m".to_owned()));
    let db = loaded.config.policy_for("db", None);
    assert_eq!((db.l2, db.l3, db.qmp_policy), (false, L3::Never, None));
}

#[test]
fn an_entry_with_name_and_uuid_needs_both() {
    let uuid = uuid::Uuid::from_u128(7);
    let entry = GuestEntry {
        name: Some(crate::config::Glob::new("web*")),
        uuid: Some(uuid),
        ..GuestEntry::default()
    };
    assert!(entry.matches("web1", Some(uuid)));
    assert!(!entry.matches("web1", None));
    assert!(!entry.matches("db", Some(uuid)));
    assert!(!GuestEntry::default().matches("web1", Some(uuid)));
}

#[test]
fn each_mistake_is_told_with_its_place() {
    for (text, want) in [
        ("[discovery]\nprok = true\n", "2:1: unknown field `prok`"),
        ("[discovery]\nproc = 'yes'\n", "2:8: invalid type: string \"yes\", expected a boolean"),
        ("[discovery]\nevery = \"5\"\n", "2:9: \"5\" is no duration"),
        ("[discovery]\nevery = \"10ms\"\n", "2:9: guests are looked for at most every 1s"),
        ("[state]\nfolder = 'here'\n", "2:10: the path must be absolute"),
        ("[[guest]]\nwatch = false\n", "1:1: this entry does not say which guest it is for"),
        ("[[guest]]\nname = 'a*'\nqmp = { path = '/q' }\n", "2:8: an address belongs to one guest"),
        ("[[guest]]\nname = 'a'\nconsole = { mux = true }\n", "3:11: a console has one address, this has 0"),
        ("[[guest]]\nname = 'a'\nscenarios = ['shell']\n", "3:14: no scenario is called \"shell\""),
        ("[[guest]]\nname = 'a'\nprompt = '('\n", "3:10: not a usable regular expression"),
        (
            "[[guest]]\nname = 'a'\nprompt = 'web-\\d+:~# $'\n",
            "3:10: \"web-\\\\d+:~# $\" may stand for too many",
        ),
        ("[guest-defaults]\nprompt = '.*'\n", "2:10: \".*\" may stand for too many prompts"),
        ("[guest-defaults.policy]\nsysrq = 'wb'\n", "2:9: SysRq key 'b' is not offered"),
        ("[guest-defaults.policy]\npause-budget = '1m'\n", "2:16: a pause of 1m is too long"),
        ("[guest-defaults]\nroot-deadline = '0s'\n", "2:17: no guest boots in less"),
        ("[[guest]]\nname = 'a'\nboot-deadline = '1ms'\n", "3:17: no guest boots in less"),
        ("scenario-folders = ['/nowhere/at/all']\n", "scenarios cannot be read"),
    ] {
        let said = problem(text);
        assert!(said.contains(want), "{text:?} gave {said:?}, not {want:?}");
    }
}

#[test]
fn a_folder_of_ones_own_adds_scenarios_and_replaces_shipped_ones() {
    let dir = tempfile::tempdir().unwrap();
    let own = dir.path().join("own");
    std::fs::create_dir_all(own.join("diagnosis")).unwrap();
    let label = "name = 'app-label'\nsummary = 's'\nevery = '30s'\ntimeout = '1s'\ndiagnosis = 'mine'\n\
                 [probe.console-label]\npattern = 'beat'\nmax-gap = '1m'\n";
    std::fs::write(own.join("app-label.toml"), label).unwrap();
    let mine = "name = 'mine'\nsummary = 's'\ndeadline = '5s'\n[[capture]]\nname = 'registers'\nrung = 'L1'\n\
                deadline = '1s'\ncap = '1MiB'\n";
    std::fs::write(own.join("diagnosis/mine.toml"), mine).unwrap();
    let file = dir.path().join("vmward.toml");
    std::fs::write(&file, "scenario-folders = ['own']\n").unwrap();
    let loaded = load(Some(&file), &captures()).unwrap();
    assert_eq!(loaded.scenarios["app-label"].every.to_string(), "30s");
    assert_eq!(loaded.scenarios.len(), 3);
    assert_eq!(loaded.diagnoses["mine"].groups().len(), 1);
}

/// The problems of one file in a folder of one's own.
fn own(name: &str, text: &str) -> String {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(&path, text).unwrap();
    let file = dir.path().join("vmward.toml.main");
    std::fs::write(&file, "scenario-folders = ['.']\n").unwrap();
    let errors = load(Some(&file), &captures()).unwrap_err();
    errors.problems.iter().map(|it| format!("{}:{}: {}\n", it.line, it.column, it.message)).collect()
}

#[test]
fn mistakes_in_scenarios_are_told_with_their_place() {
    let head = "name = 'x'\nsummary = 's'\nevery = '2s'\ntimeout = '1s'\n";
    for (tail, want) in [
        ("[probe.console-label]\npattern = 'a'\nmax-gap = '0s'\n", "7:11: no guest can write labels without"),
        (
            "[probe.console-command]\ncommand = \"a\\nb\"\nexpect = 'a'\nprompt = 'b'\n",
            "6:11: a command is one",
        ),
        (
            "[probe.console-command]\ncommand = 'a'\nexpect = 'a'\nprompt = '\\w+'\n",
            "8:10: \"\\\\w+\" may stand for too many prompts",
        ),
        ("[probe.ping]\n", "unknown variant `ping`"),
        ("[probe.kernel-trouble]\nconsole = []\nqmp = ['panic']\n", "7:8: \"panic\" is no QMP event"),
        (
            "[probe.kernel-trouble]\nconsole = ['oops', 'opps']\nqmp = ['SHUTDOWN', 'WAKEUP']\n",
            "6:20: no trouble on the console is called \"opps\"",
        ),
        (
            "[probe.kernel-trouble]\nconsole = ['oops', 'opps']\nqmp = ['SHUTDOWN', 'WAKEUP']\n",
            "7:20: \"WAKEUP\" is no QMP event",
        ),
        ("diagnosis = 'deep'\n[probe.qmp-status]\n", "5:13: no diagnosis is called \"deep\""),
        ("recover = 0\n[probe.qmp-status]\n", "5:11: must be from 1 to 100"),
        ("fail = '3 of 2'\n[probe.qmp-status]\n", "5:8: a rule of 3 failures in 2 rounds"),
        ("", "missing field `probe`"),
    ] {
        let said = own("x.toml", &format!("{head}{tail}"));
        assert!(said.contains(want), "{tail:?} gave {said:?}, not {want:?}");
    }
    let said = own("y.toml", &format!("{head}[probe.qmp-status]\n"));
    assert!(said.contains("1:8: the file of \"x\" must be called x.toml"), "{said}");
}

#[test]
fn mistakes_in_diagnoses_are_told_with_their_place() {
    let head = "name = 'x'\nsummary = 's'\ndeadline = '5s'\n";
    let capture = |name: &str, rung: &str, rest: &str| {
        format!("[[capture]]\nname = '{name}'\nrung = '{rung}'\ncap = '1KiB'\n{rest}\n")
    };
    for (tail, want) in [
        (capture("magic", "L0", "deadline = '1s'"), "5:8: no capture is called \"magic\""),
        (
            capture("registers", "L1", "deadline = '6s'"),
            "8:12: must be more than 0 and at most the diagnosis's, 5s",
        ),
        (capture("registers", "L9", "deadline = '1s'"), "6:8: unknown variant `L9`"),
        (
            capture("sysrq-w", "L3", "deadline = '1s'\ngroup = 1")
                + &capture("registers", "L1", "deadline = '1s'\ngroup = 1"),
            "9:9: \"registers\" on L1 must come before this one on L3",
        ),
        (
            capture("registers", "L1", "deadline = '1s'") + &capture("registers", "L1", "deadline = '1s'"),
            "10:8: \"registers\" stands twice",
        ),
    ] {
        let said = own("diagnosis/x.toml", &format!("{head}{tail}"));
        assert!(said.contains(want), "{tail:?} gave {said:?}, not {want:?}");
    }
}

#[test]
fn every_shipped_file_survives_a_round_trip() {
    let loaded = read("").unwrap();
    for scenario in loaded.scenarios.values() {
        let text = toml::to_string(scenario).unwrap();
        assert_eq!(&toml::from_str::<Scenario>(&text).unwrap(), scenario);
    }
    for diagnosis in loaded.diagnoses.values() {
        let text = toml::to_string(diagnosis).unwrap();
        assert_eq!(&toml::from_str::<Diagnosis>(&text).unwrap(), diagnosis);
    }
}

#[test]
fn the_sample_configuration_and_those_of_the_manual_are_well() {
    let repository = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    if let Err(errors) = load(Some(&repository.join("packaging/vmward.toml")), &captures()) {
        panic!("{errors}");
    }
    let page = std::fs::read_to_string(repository.join("docs/src/howto/watch-a-guest.md")).unwrap();
    let (_, example) = page.split_once("```toml\n").unwrap();
    let (example, _) = example.split_once("```").unwrap();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("vmward.toml");
    std::fs::write(&file, example).unwrap();
    if let Err(errors) = load(Some(&file), &captures()) {
        panic!("{errors}");
    }
}
