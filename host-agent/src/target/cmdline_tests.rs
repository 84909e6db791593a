//! Command lines as people, libvirt, Proxmox and EVE write them.

use proptest::prelude::*;

use super::*;

fn line(text: &str) -> CommandLine {
    let args: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
    parse(&args)
}

fn unix(path: &str) -> Backend {
    Backend::Unix(path.into())
}

#[test]
fn a_plain_command_line_says_all() {
    let it = line(
        "qemu-system-x86_64 -name web,process=x -uuid 6f9619ff-8b86-d011-b42d-00cf4fc964ff -nodefaults \
         -qmp unix:/run/web/qmp,server=on,wait=off -serial unix:/run/web/cons,server=on,wait=off \
         -drive file=/img/a.qcow2,if=virtio -drive file=/cd.iso,media=cdrom -m 64",
    );
    assert_eq!(it.name.as_deref(), Some("web"));
    assert_eq!(it.uuid.map(|it| it.to_string()).as_deref(), Some("6f9619ff-8b86-d011-b42d-00cf4fc964ff"));
    assert_eq!(it.qmp[0].backend, unix("/run/web/qmp"));
    assert_eq!(it.consoles[0].0, ConsoleKind::Uart);
    assert_eq!(it.consoles[0].1.backend, unix("/run/web/cons"));
    assert_eq!(it.disks, ["/img/a.qcow2"]);
    assert!(!it.incoming);
}

#[test]
fn libvirts_monitor_cannot_be_used_and_its_pty_is_the_console() {
    let it = line(
        r#"/usr/bin/qemu-system-x86_64 -name guest=db,debug-threads=on -S
        -object {"qom-type":"secret","id":"masterKey0","format":"raw","file":"/k"}
        -uuid 6f9619ff-8b86-d011-b42d-00cf4fc964ff -no-user-config -nodefaults
        -chardev socket,id=charmonitor,fd=27,server=on,wait=off -mon chardev=charmonitor,id=monitor,mode=control
        -blockdev {"driver":"file","filename":"/efi.fd","node-name":"libvirt-pflash0-storage","read-only":true}
        -blockdev {"driver":"file","filename":"/img/db.qcow2","node-name":"libvirt-1-storage"}
        -blockdev {"node-name":"libvirt-1-format","driver":"qcow2","file":"libvirt-1-storage"}
        -chardev pty,id=charserial0 -device {"driver":"isa-serial","chardev":"charserial0","id":"serial0"}"#,
    );
    assert_eq!(it.name.as_deref(), Some("db"));
    assert!(matches!(&it.qmp[0].backend, Backend::Useless { what, .. } if what == "descriptor 27"));
    assert_eq!((it.consoles.len(), it.ptys), (1, 1));
    assert_eq!(it.consoles[0].1.backend, Backend::Pty);
    assert!(it.disks.contains(&"/img/db.qcow2".to_owned()) && !it.disks.contains(&"/efi.fd".to_owned()));
}

#[test]
fn eves_mux_console_is_found_once_although_it_has_two_front_ends() {
    let it = line(
        "/usr/lib/xen/bin/qemu-system-x86_64 -display none -S -no-user-config -nodefaults -no-shutdown \
         -serial chardev:charserial0 -name 6f9619ff-8b86-d011-b42d-00cf4fc964ff.1.2 \
         -chardev socket,id=charmonitor,path=/run/hypervisor/kvm/d/qmp,server=on,wait=off \
         -mon chardev=charmonitor,id=monitor,mode=control \
         -chardev socket,id=charserial0,mux=on,path=/run/hypervisor/kvm/d/cons,server=on,wait=off \
         -device virtconsole,chardev=charserial0,name=console.0",
    );
    assert_eq!(it.consoles.len(), 1);
    let (kind, console) = &it.consoles[0];
    assert_eq!((*kind, console.mux, console.id.as_deref()), (ConsoleKind::Uart, true, Some("charserial0")));
}

#[test]
fn a_monitor_for_people_is_no_qmp() {
    let it = line(
        "qemu -monitor unix:/m,server=on -chardev socket,id=h,path=/h,server=on -mon chardev=h,mode=readline",
    );
    assert!(it.qmp.is_empty());
}

#[test]
fn a_value_that_looks_like_an_option_is_none() {
    let args: Vec<String> =
        ["qemu", "-append", "-uuid", "-name", "a"].into_iter().map(str::to_owned).collect();
    let it = parse(&args);
    assert_eq!((it.uuid, it.name.as_deref()), (None, Some("a")));
}

#[test]
fn a_guest_that_waits_for_a_migration_is_known_as_such() {
    assert!(line("qemu -name a -incoming defer").incoming);
}

proptest! {
    #[test]
    fn no_command_line_makes_it_panic(args in proptest::collection::vec(any::<String>(), 0..12)) {
        let _ = parse(&args);
    }

    #[test]
    fn no_mix_of_real_options_makes_it_panic(
        args in proptest::collection::vec(
            prop_oneof![
                proptest::sample::select(KNOWN).prop_map(|it| format!("-{it}")),
                "(socket|pty|unix|tcp|virtconsole|mon|chardev)?[:,=]{0,2}(id|path|chardev|mode|host)?[=,:{}\"]{0,3}[a-z0-9/]{0,5}",
            ],
            0..20,
        )
    ) {
        let it = parse(&args);
        prop_assert!(it.consoles.len() <= args.len());
    }
}
