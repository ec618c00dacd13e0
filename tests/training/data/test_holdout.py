"""Images are held out by a hash of their names."""

from training.data.holdout import is_held_out


def test_about_the_given_share_is_held_out() -> None:
    names = [f"{number}.jpg" for number in range(4000)]
    assert 850 < sum(is_held_out(name, 0.25) for name in names) < 1150
    assert not any(is_held_out(name, 0.0) for name in names)


def test_a_larger_share_holds_out_the_same_images_and_more() -> None:
    names = [f"{number}.jpg" for number in range(1000)]
    small, large = ({n for n in names if is_held_out(n, share)} for share in (0.1, 0.3))
    assert small < large


def test_the_choice_never_changes() -> None:
    """Published weights were trained without these images."""
    held_out = [number for number in range(60) if is_held_out(f"{number}.jpg", 0.077)]
    assert held_out == [26, 34, 36]
