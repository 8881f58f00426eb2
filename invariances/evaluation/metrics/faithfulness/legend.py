"""How to read the numbers of `faithfulness`: name -> text; names may hold wildcards, the first match counts."""

LEGEND = {
    "class_agreement": "Share of the samples whose predicted class is that of their input. 1: the class is kept.",
    "hue_agreement": "Cosine of the angle between the hue of a sample and that of its input. "
    "1: the hue is kept; 0: the hues are independent: the layer does not hold the colour, or the flow misses it, as "
    "the hue agreement of the MLP tells.",
    "cosine": "Similarity between the layer's responses to a sample and to its input. They should be the same, so high "
    "is right. The references tell what is high: the autoencoder's reconstruction of the input, the most similar other "
    "real image (nearest), and any other image (random).",
    "relative_l2": "Distance between the layer's responses to a sample and to its input, over the root mean square "
    "length of the responses to all images. 0: equal.",
    "diversity": "Variance of the samples of one input, over the variance of the data. "
    "0: all samples are the same; 1: they vary as much as the data.",
    "nll": "Negative log-likelihood of the held-out codes given the layer, in nats, without its constant. "
    "The higher, the less the layer tells about the image.",
    "nll_gaussian": "The same of a Gaussian with full covariance that ignores the layer; the difference is what the "
    "flow has learned from the layer's response. It is fitted to four fifths of the images and measured on the others: "
    "of few images its fit is poor, and the difference too large.",
    "retrieval_rank": "Real images are sorted by the distance of their response to that of a sample; this is the rank "
    "of the sample's own input, 1 being the first; equally close images share their ranks. Of n images it is (n + 1)/2 "
    "if the layer keeps nothing.",
    "retrieval_mrr": "Mean of 1 / rank: 1 if the input always comes first, near 0 if its rank is left to chance.",
    "class_agreement_top5": "Share of the samples for which the input's class is among the five that the network finds "
    "most likely.",
    "pearson": "Linear correlation between the responses to a sample and to its input.",
    "spearman": "Correlation of the ranks of the responses, on which single large values have little influence.",
    "variance_explained_by_v": "The flow's claim: variance of its samples for one response, over the variance of the "
    "codes. Compare it with the residual variance, which is measured: an over-confident flow claims too little.",
    "residual_variance": "Measured on held-out images: squared distance of the code from the mean of the flow's "
    "samples, over the variance of the codes. 0: the layer determines the code; 1: it tells nothing about it. It is "
    "what the layer leaves open, or more where the flow predicts badly.",
    "spread_skill": "Spread of the samples, over the error of their mean. 1: as for an exact flow; below: "
    "over-confident, the samples vary too little; above: over-dispersed, they vary too much.",
    "rank_chi2": "How uniform the rank of the code is among its samples: χ² per degree of freedom, mean over the "
    "dimensions of the code. 1: as for an exact flow. It grows with the number of images if the flow is not exact.",
    "energy_skill": "Energy score of the samples relative to that of the codes of other images. 0: the samples tell no "
    "more about the code, as of a flow that ignores the layer; below 0: less; 1: they are the code.",
    "c2st": "Accuracy of a classifier that tells codes of held-out images from samples, given the layer's response. "
    "0.5: it cannot; 1: it always can.",
    "pairwise_distance": "Distance between two samples of one input, over that between two images.",
    "hue_distance": "Mean rotation of the hues of all samples together, in radians, until they are distributed as "
    "those of the images, where both have a hue. Above the 95 % quantile of chance, hues are missing or too frequent.",
    "hue_distance_random": "Chance: mean hue distance of an exact sampler, from as many images and samples.",
    "hue_distance_random_95": "95 % quantile of the hue distance of an exact sampler, from as many images and samples.",
    "hue_grey_images": "Share of the images without a hue, which are left out of the measures of hue.",
    "hue_grey_samples": "Share of the samples without a hue, which are left out of the measures of hue.",
    "network_accuracy": "Share of this evaluation's images whose class the network predicts right: how good it is.",
    "predicted_classes": "Number of different classes that the network predicts for the images. If it is 1, class "
    "agreement says nothing.",
    "half_v_squared": "½v² per dimension of v, the invariances of held-out images. ½: as for N(0, 1); above: the flow "
    "is over-confident, mostly where it claims little variance; below: over-dispersed.",
    "probe_accuracy": "Balanced accuracy (mean over the classes) of a linear probe that predicts the class of images "
    "not used to fit it, from v. Chance is 1/classes; above the 95 % quantile of chance, v still holds the class.",
    "probe_accuracy_nonlinear": "Balanced accuracy of a probe with a Gaussian kernel that predicts the class from v. "
    "It finds what a linear one does not, such as a variance that depends on the class.",
    "probe_accuracy_code": "Balanced accuracy of a linear probe that predicts the class from the code.",
    "probe_chance": "Mean balanced accuracy of the linear probe for randomly permuted classes.",
    "probe_chance_95": "95 % quantile of the balanced accuracy of the linear probe for randomly permuted classes.",
    "probe_chance_nonlinear_95": "95 % quantile of that of the non-linear probe for randomly permuted classes.",
    "agreement_times_diversity": "Class agreement × diversity: high only where samples vary and keep their class. "
    "It is no score to maximise: a flow whose samples vary too much gets more than an exact one. Early layers leave "
    "little to vary, so there it is low for all.",
    "factor_*_explained_by_z": "The flow's claim: share of the variance of a factor that is gone when the layer's "
    "response is given. 1: the layer determines the factor; 0: it tells nothing about it.",
    "factor_*_residual": "Measured on held-out images: squared distance of the factor from the mean of the flow's "
    "samples, over the factor's variance. 1 minus this is what the layer is shown to know of the factor.",
    "residual_variance_mlp": "Error of a network that predicts the code from the layer's response, measured in the "
    "same way. If it is lower, the flow does not use all that the layer tells.",
    "*_autoencoder": "The same measure of the autoencoder's reconstruction in place of a sample. It has the error of "
    "the autoencoder and of one random code, so samples may exceed it.",
    "*_nearest": "The same measure of the most similar other real image in place of a sample.",
    "*_negative": "The same measure of the most similar real image with another label (a hard negative) in place of a "
    "sample.",
    "*_random": "The same measure of another real image, chosen at random, in place of a sample.",
    "*_mean": "The same measure of the decoded mean of all codes in place of a sample.",
    "*_mlp": "The same measure of the image that a network without randomness predicts from the layer's response.",
}
