//! Predictions of a classifier for a set of images, and the measures of the drawing model that follow from them.

/// Probability above which an image counts as a valid one of its class.
pub const VALID: f32 = 0.9;

/// Probabilities and features of images.
#[derive(Clone, Debug, PartialEq)]
pub struct Predictions {
    classes: usize,
    dims: usize,
    probabilities: Vec<f32>,
    features: Vec<f32>,
}

impl Predictions {
    /// An empty set, of `classes` probabilities and `dims` features each.
    pub fn new(classes: usize, dims: usize) -> Predictions {
        Predictions { classes, dims, probabilities: Vec::new(), features: Vec::new() }
    }

    /// Adds images by their `logits [n, classes]` and `features [n, dims]`.
    pub fn push(&mut self, logits: &[f32], features: &[f32]) {
        assert_eq!(logits.len() / self.classes, features.len() / self.dims, "as many logits as features");
        for row in logits.chunks_exact(self.classes) {
            let most = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            let sum: f32 = row.iter().map(|l| (l - most).exp()).sum();
            self.probabilities.extend(row.iter().map(|l| (l - most).exp() / sum));
        }
        self.features.extend(features);
    }

    /// Adds the images of another set.
    pub fn append(&mut self, other: &Predictions) {
        assert_eq!((self.classes, self.dims), (other.classes, other.dims), "predictions of one classifier");
        self.probabilities.extend(&other.probabilities);
        self.features.extend(&other.features);
    }

    /// Number of images.
    pub fn len(&self) -> usize {
        self.probabilities.len() / self.classes
    }

    /// True if there is no image.
    pub fn is_empty(&self) -> bool {
        self.probabilities.is_empty()
    }

    /// `[n, classes]`
    pub fn probabilities(&self) -> &[f32] {
        &self.probabilities
    }

    /// `[n, dims]`
    pub fn features(&self) -> &[f32] {
        &self.features
    }

    /// The most probable class of each image.
    pub fn classes(&self) -> Vec<usize> {
        let most = |row: &[f32]| (0..row.len()).max_by(|&a, &b| row[a].total_cmp(&row[b]));
        self.probabilities.chunks_exact(self.classes).map(|row| most(row).expect("at least one class")).collect()
    }

    /// Share of the images that are of some class with a probability above [`VALID`].
    pub fn valid_share(&self) -> f64 {
        let valid = self.probabilities.chunks_exact(self.classes).filter(|row| row.iter().any(|&p| p > VALID));
        valid.count() as f64 / self.len() as f64
    }

    /// Share of the images that look most like each class.
    pub fn class_shares(&self) -> Vec<f64> {
        let mut counts = vec![0usize; self.classes];
        self.classes().into_iter().for_each(|class| counts[class] += 1);
        counts.into_iter().map(|count| count as f64 / self.len() as f64).collect()
    }

    /// Share of the images that look like the requested class of each.
    pub fn accuracy(&self, requested: &[usize]) -> f64 {
        assert_eq!(requested.len(), self.len(), "one class per image");
        self.classes().iter().zip(requested).filter(|(predicted, requested)| predicted == requested).count() as f64
            / self.len() as f64
    }

    /// Variety of the images of a class: the variance of a feature within a class, mean over the features, pooled
    /// over the classes. Zero if every class has one image only.
    pub fn diversity(&self, class_of: &[usize]) -> f64 {
        assert_eq!(class_of.len(), self.len(), "one class per image");
        let rows = || self.features.chunks_exact(self.dims).zip(class_of);
        let mut counts = vec![0.0; self.classes];
        let mut means = vec![0.0; self.classes * self.dims];
        for (row, &class) in rows() {
            counts[class] += 1.0;
            means[class * self.dims..][..self.dims].iter_mut().zip(row).for_each(|(sum, &v)| *sum += f64::from(v));
        }
        for (mean, &count) in means.chunks_exact_mut(self.dims).zip(&counts) {
            mean.iter_mut().for_each(|sum| *sum /= f64::max(count, 1.0));
        }
        let squares = |(row, &class): (&[f32], &usize)| -> f64 {
            let mean = &means[class * self.dims..][..self.dims];
            row.iter().zip(mean).map(|(&v, m)| (f64::from(v) - m).powi(2)).sum()
        };
        let freedom = self.len() - counts.iter().filter(|&&count| count > 0.0).count();
        rows().map(squares).sum::<f64>() / (self.dims * freedom.max(1)) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_and_diversity_of_a_few_images() {
        let mut predictions = Predictions::new(3, 2);
        let logits = [5.0, 0.0, 0.0, 0.0, 9.0, 0.0, 1.0, 0.9, 0.0, 0.0, 0.0, 60.0];
        predictions.push(&logits[..6], &[0.0, 1.0, 10.0, 10.0]);
        let mut more = Predictions::new(3, 2);
        more.push(&logits[6..], &[4.0, 3.0, -7.0, 0.0]);
        predictions.append(&more);
        assert_eq!(predictions.classes(), [0, 1, 0, 2]);
        assert_eq!(predictions.valid_share(), 0.75);
        assert_eq!(predictions.class_shares(), [0.5, 0.25, 0.25]);
        assert_eq!(predictions.accuracy(&[0, 1, 2, 2]), 0.75);
        let want = 5f32.exp() / (5f32.exp() + 2.0);
        assert!((predictions.probabilities()[0] - want).abs() <= 1e-6);
        // Class 0 has images at (0, 1) and (4, 3), 2 and 1 from their mean in each direction; the others one each.
        assert!((predictions.diversity(&predictions.classes()) - 10.0 / 2.0).abs() <= 1e-12);
        assert_eq!(predictions.diversity(&[0, 1, 2, 0]), 25.0 / 2.0);
        assert_eq!((predictions.len(), predictions.is_empty()), (4, false));
    }
}
