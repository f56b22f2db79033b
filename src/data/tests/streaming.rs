//! Sets that are larger than the memory that they may take: the same samples, in an order that nothing changes.

use super::parquet::png;
use super::parquet_file::{Row, write};
use super::*;

/// Bytes of the encoded and decoded images below are more than 1 MB.
const IMAGES: usize = 2400;
/// The size in the data set; in the file it is 4x3.
const SIZE: [usize; 2] = [12, 16];

/// A parquet file of images that show their number, in groups of 70 rows.
fn parquet() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let images: Vec<Vec<u8>> = (0..IMAGES).map(|i| png([i as u8, (i >> 8) as u8, 9])).collect();
    let rows: Vec<Row> = images.iter().zip(0..).map(|(png, i)| (Some(&png[..]), None, i % 3)).collect();
    fs::write(folder.path().join("train-0.parquet"), write(&rows[..1000], 70, None)).unwrap();
    fs::write(folder.path().join("train-1.parquet"), write(&rows[1000..], 70, None)).unwrap();
    folder
}

fn options(memory_limit: usize) -> DataOptions {
    DataOptions { size: Some(SIZE), memory_limit, shuffle_window: 200, ..DataOptions::default() }
}

fn streamed(folder: &TempDir) -> Dataset {
    let dataset = open_train(folder.path(), &options(1)).unwrap();
    assert!(dataset.is_in_blocks());
    dataset
}

fn batches(dataset: &Dataset, fraction: f64) -> Batches<'_> {
    Batches::new(dataset, Division::new(dataset, 0, fraction, 5).loader(dataset, 24, 5, true))
}

/// Images and labels of some steps.
fn collect(batches: &mut Batches, steps: std::ops::Range<u64>) -> Vec<(Vec<f32>, Vec<i32>)> {
    let batch = |step| {
        let (mut images, mut labels) = (vec![0.0; 24 * 12 * 16 * 3], vec![0; 24]);
        batches.fill(step, &mut images, Some(&mut labels)).unwrap();
        (images, labels)
    };
    steps.map(batch).collect()
}

/// The number that an image shows.
fn number(image: &[u8]) -> usize {
    usize::from(u16::from_le_bytes([image[0], image[1]]))
}

#[test]
fn what_stays_on_the_disk_is_what_would_be_in_memory() {
    let folder = parquet();
    let (streamed, held) = (streamed(&folder), open_train(folder.path(), &options(4096)).unwrap());
    assert!(!held.is_in_blocks());
    assert_says(&streamed.notes()[0], &["2 MB of pixels are more than data.memory_limit = 1", "shuffle_window"]);
    assert_eq!((streamed.len(), streamed.labels()), (IMAGES, held.labels()));
    for indices in [(0..IMAGES).collect(), vec![2399, 0, 1000, 999, 0], shuffled(IMAGES, 3)] {
        assert_eq!(streamed.images_u8(&indices).unwrap(), held.images_u8(&indices).unwrap());
    }
    let [one, other] = [&streamed, &held].map(|dataset| {
        let mut batch = vec![0.0; 2 * 12 * 16 * 3];
        dataset.fill_batch(&[1234, 7], &[true, false], &mut batch).unwrap();
        batch
    });
    assert_eq!(one, other);
}

#[test]
fn the_share_of_a_process_is_that_part_of_each_batch() {
    let folder = parquet();
    let dataset = streamed(&folder);
    let (image, share) = (12 * 16 * 3, 6..18);
    let mut shares = Batches::new(
        &dataset,
        Division::new(&dataset, 0, 0.0, 5).loader(&dataset, 24, 5, true).of_share(share.clone()),
    );
    for (step, (images, labels)) in collect(&mut batches(&dataset, 0.0), 0..110).into_iter().enumerate() {
        let (mut some, mut their_labels) = (vec![0.0; share.len() * image], vec![0; share.len()]);
        shares.fill(step as u64, &mut some, Some(&mut their_labels)).unwrap();
        assert!(some == images[share.start * image..share.end * image], "step {step}");
        assert_eq!(their_labels, labels[share.clone()], "step {step}");
    }
}

#[test]
fn what_stays_on_the_disk_has_a_fingerprint_too() {
    let (folder, other) = (parquet(), parquet());
    let first = streamed(&folder).fingerprint().unwrap();
    assert_eq!(streamed(&other).fingerprint().unwrap(), first);
    let rows = fs::read(other.path().join("train-0.parquet")).unwrap();
    fs::write(other.path().join("train-1.parquet"), rows).unwrap();
    assert_ne!(open_train(other.path(), &options(1)).unwrap().fingerprint().unwrap(), first);
}

#[test]
fn batches_are_the_same_after_a_resume_and_at_any_number_of_threads() {
    let folder = parquet();
    let dataset = streamed(&folder);
    // Two epochs and a half.
    let all = collect(&mut batches(&dataset, 0.0), 0..250);
    for step in [1, 77, 99, 100, 249] {
        assert!(collect(&mut batches(&dataset, 0.0), step..step + 1)[0] == all[step as usize], "step {step}");
    }
    let mut jumping = batches(&dataset, 0.0);
    assert!(collect(&mut jumping, 150..152) == all[150..152]);
    assert!(collect(&mut jumping, 3..5) == all[3..5]);
    let one_thread = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
    one_thread.install(|| {
        let mut loader = Division::new(&dataset, 0, 0.0, 5).loader(&dataset, 24, 5, true);
        for step in [0, 101] {
            let (batch, mut images) = (loader.batch(step), vec![0.0; 24 * 12 * 16 * 3]);
            dataset.fill_batch(&batch.indices, &batch.flips, &mut images).unwrap();
            assert!(images == all[step as usize].0, "step {step}");
        }
    });
    let mut visited: Vec<usize> = (0..100)
        .flat_map(|step| {
            let mut loader = Division::new(&dataset, 0, 0.0, 5).loader(&dataset, 24, 5, true);
            loader.batch(step).indices
        })
        .collect();
    visited.sort_unstable();
    assert!(visited.into_iter().eq(0..IMAGES), "an epoch visits every image once");
}

#[test]
fn validation_limits_and_classes_leave_the_rest() {
    let folder = parquet();
    let dataset = streamed(&folder);
    let mut division = Division::new(&dataset, 2000, 0.1, 5);
    let validation = std::mem::take(&mut division.validation);
    assert_eq!(validation.len(), 200);
    let held = dataset.in_memory(&validation, 1).unwrap();
    assert_eq!(number(held.image_u8(17)), validation[17]);
    assert_eq!(held.labels().unwrap()[17] as usize, validation[17] % 3);
    let mut loader = division.loader(&dataset, 18, 5, false);
    let mut visited: Vec<usize> = (0..100).flat_map(|step| loader.batch(step).indices).chain(validation).collect();
    visited.sort_unstable();
    assert!(visited.into_iter().eq(0..2000), "each of the first 2000 trains or validates");
    let message = dataset.in_memory(&(0..2000).collect::<Vec<_>>(), 1).unwrap_err().to_string();
    assert_says(&message, &["2000 images that validate take 2 MB", "lower train.validation_fraction"]);

    let classes = DataOptions { classes: Some(vec![2, 0]), ..options(0) };
    let message = complaint_with(folder.path(), Split::Train, &classes);
    assert_says(
        &message,
        &["two windows of data.shuffle_window = 200 images take about 1 MB", "data.memory_limit = 0"],
    );
    let chosen = open_train(folder.path(), &DataOptions { size: Some([24, 32]), memory_limit: 1, ..classes }).unwrap();
    assert!(chosen.is_in_blocks());
    assert_eq!((chosen.len(), chosen.class_names()), (1600, &["2".into(), "0".into()][..]));
    let images = chosen.images_u8(&[0, 1, 2, 1599]).unwrap();
    let numbers: Vec<usize> = images.chunks_exact(24 * 32 * 3).map(number).collect();
    assert_eq!(numbers, [0, 2, 3, 2399]);
    assert_eq!(chosen.labels().unwrap()[..3], [1, 0, 1]);
    let [train, test] = hold_out(&chosen);
    assert_eq!((train.len(), test.len()), (1334, 266));
    let shown = number(&test.images_u8(&[100]).unwrap());
    assert_eq!(test.labels().unwrap()[100], [1, 9, 0][shown % 3]);
}

/// The order of files that can be read one by one is that of images in memory.
#[test]
fn folders_that_stay_on_the_disk_give_the_batches_of_memory() {
    let folder = tempfile::tempdir().unwrap();
    for i in 0..60 {
        let class = folder.path().join(["a", "b"][i % 2]);
        fs::create_dir_all(&class).unwrap();
        fs::write(class.join(format!("{i:03}.png")), png([i as u8, 0, 9])).unwrap();
    }
    let [streamed, held] = [0, 1].map(|limit| open_train(folder.path(), &options(limit)).unwrap());
    assert!(!streamed.is_in_blocks());
    assert_says(&streamed.notes()[0], &["the images stay on the disk"]);
    for fraction in [0.0, 0.25] {
        let [one, other] = [&streamed, &held].map(|dataset| collect(&mut batches(dataset, fraction), 0..9));
        assert!(one == other, "{fraction}");
    }
    let [one, other] =
        [&streamed, &held].map(|dataset| hold_out(dataset).map(|part| part.images_u8(&[0, 3, 9]).unwrap()));
    assert_eq!(one, other);
    let info = [0, 1].map(|limit| info(folder.path().to_str().unwrap(), Split::Train, &options(limit)).unwrap());
    assert_eq!(format!("{:?}", info[0].statistics), format!("{:?}", info[1].statistics));
}

#[test]
fn an_image_that_fails_is_named_when_its_turn_comes() {
    let folder = tempfile::tempdir().unwrap();
    let images: Vec<Vec<u8>> = (0..2000).map(|i| if i == 1500 { b"gone".to_vec() } else { png([1, 2, 3]) }).collect();
    let rows: Vec<Row> = images.iter().map(|png| (Some(&png[..]), None, 0)).collect();
    fs::write(folder.path().join("a.parquet"), write(&rows, 100, None)).unwrap();
    let dataset = streamed(&folder);
    let mut batches = batches(&dataset, 0.0);
    let mut images = vec![0.0; 24 * 12 * 16 * 3];
    let error = (0..84).find_map(|step| batches.fill(step, &mut images, None).err()).unwrap().to_string();
    assert_says(&error, &["a.parquet: row 1500: unreadable image"]);
    // Asked again, it says so again.
    let again = (0..84).find_map(|step| batches.fill(step, &mut images, None).err()).unwrap().to_string();
    assert_eq!(error, again);
}
