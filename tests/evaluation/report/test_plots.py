from invariances.evaluation.report.plots import LADDER, along_the_depth


def test_what_is_kept_stands_beside_what_the_reconstruction_keeps():
    numbers = {"class_agreement": 0.86, "class_agreement_autoencoder": 0.857}
    axis = along_the_depth(LADDER, [("conv1", numbers), ("logits", numbers)]).axes[0]
    lines = {line.get_label(): line for line in axis.get_lines()}
    assert set(lines) == {"class", "class, reconstruction"}
    assert list(lines["class, reconstruction"].get_ydata()) == [0.857, 0.857]
    assert lines["class, reconstruction"].get_linestyle() == "--"
