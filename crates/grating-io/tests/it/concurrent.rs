//! Many threads read one checkpoint at once; no read sees another's position.

use std::thread;

use grating_io::Checkpoint;

use crate::support::{Random, image, write};

#[test]
fn threads_do_not_disturb_each_other() {
    const BYTES: usize = 1 << 16;
    let folder = tempfile::tempdir().unwrap();
    let data: Vec<u8> = (0..BYTES).map(|at| ((at / 7) ^ at) as u8).collect();
    let header =
        format!(r#"{{"a":{{"dtype":"U8","shape":[{BYTES}],"data_offsets":[0,{BYTES}]}}}}"#);
    write(folder.path(), "model.safetensors", image(&header, &data));

    let checkpoint = Checkpoint::open(folder.path()).unwrap();
    thread::scope(|scope| {
        for seed in 0..8 {
            let (checkpoint, data) = (checkpoint.clone(), &data);
            scope.spawn(move || {
                let tensor = checkpoint.tensor("a").unwrap();
                let mut random = Random(seed);
                let mut buffer = vec![0; 4096];
                for _ in 0..500 {
                    let length = random.below(buffer.len());
                    let offset = random.below(BYTES - length);
                    checkpoint.read_range(tensor, offset as u64, &mut buffer[..length]).unwrap();
                    assert_eq!(buffer[..length], data[offset..offset + length]);
                }
            });
        }
    });
}
