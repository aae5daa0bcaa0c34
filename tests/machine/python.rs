//! Shards as Python's own `tarfile` reads them.

use support::rig::{Rig, inline};

/// Samples are pairs of consecutive members whose sidecars all have the same keys.
pub async fn samples_are_consecutive_pairs_for_pythons_tarfile() {
    let rig = Rig::new().await;
    let handler = rig.handler().await;
    handler.deliver("one", &inline(1, 0, &rig.pictures(5))).await;
    let path = rig.temp.path().join("shard.tar");
    std::fs::write(&path, rig.shard(1, 0).await).unwrap();
    let script = "import tarfile,sys,json\n\
        t=tarfile.open(sys.argv[1]); m=t.getmembers()\n\
        assert len(m)==10, len(m)\n\
        keys=set()\n\
        for a,b in zip(m[::2],m[1::2]):\n\
        \x20 ka,ea=a.name.split('.'); kb,eb=b.name.split('.')\n\
        \x20 assert ka==kb and eb=='json' and ea=='jpg', (a.name,b.name)\n\
        \x20 j=json.load(t.extractfile(b)); keys.add(tuple(sorted(j)))\n\
        \x20 assert j['file_size']==a.size and a.mtime==0 and a.uid==0\n\
        assert keys=={tuple(sorted('url label caption class width height format file_size sha256 meta'.split()))}\n";
    let python = std::process::Command::new("python3").arg("-c").arg(script).arg(&path).output();
    let output = python.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
