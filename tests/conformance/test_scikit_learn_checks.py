"""scikit-learn's own checks: all for two-dimensional input, else those that pass no data."""

import re
import warnings

import pytest
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import estimator_checks, get_tags
from sklearn.utils.estimator_checks import parametrize_with_checks

from fastmotion.em.gaussians import SingularCovarianceWarning
from fastmotion.epipolar import FundamentalMatrix, Homography
from fastmotion.hmm import GaussianHMM
from fastmotion.linear import LeastSquares
from fastmotion.mixture import GaussianMixture
from tests.conformance.common import each_case
from tests.conformance.registry import public_estimators

ESTIMATORS = [
    GaussianMixture(),
    GaussianMixture(2, covariance_type="tied", n_init=2, max_iter=5),
    GaussianMixture(2, covariance_type="diag", init_params="random_from_data", max_iter=5),
    GaussianMixture(covariance_type="spherical", max_iter=5),
    GaussianMixture("auto", max_components=3),
    GaussianHMM(2, "spherical"),
    GaussianHMM(2, "diag"),
    GaussianHMM(2, "full"),
    GaussianHMM(2, "tied"),
    LeastSquares(),
    LeastSquares(2.0, fit_intercept=False),
    LeastSquares(smoothness=1.0),
    FundamentalMatrix("eight_point"),
    Homography("dlt"),
]

# Failures that are meant: the name of the check, why it fails, and words of the error.

OF_MIXTURES = {
    # With one component the start does not matter; these checks pass.
    "check_sample_weight_equivalence_on_dense_data": (
        "a seed draws other samples to start from where samples are repeated",
        "not equivalent to fitting with removed or repeated",
    ),
}

OF_MARKOV_MODELS = {
    "check_methods_sample_order_invariance": (
        "score_samples returns a likelihood and posteriors, as hmmlearn's does",
        "tuple index out of range",
    ),
    "check_methods_subset_invariance": (
        "score_samples returns a likelihood of the whole sequence, as hmmlearn's does",
        "score_samples of GaussianHMM is not invariant when applied to a subset",
    ),
    "check_sample_weight_equivalence_on_dense_data": (
        "a frame that is repeated is one more step of the chain, which no weight can be",
        "not equivalent to fitting with removed or repeated",
    ),
}

# Their X has any number of columns and their y is a vector. What these checks are about is asked
# of matches by the other modules of this folder.
NO_MATCHES = (
    "y is a vector, where a fit takes the points of the second image",
    r"X and y must both have shape \(n, 2\)",
)
NO_OBJECTS = (
    "matches of objects are a TypeError, whatever the objects are",
    "got dtype object",
)
NO_COMPLEX = (
    "complex matches are a TypeError, where the check wants a ValueError of a certain text",
    "got dtype complex128",
)
OF_MATCHES = {
    **dict.fromkeys(
        [
            "check_all_zero_sample_weights_error",
            "check_dict_unchanged",
            "check_dont_overwrite_parameters",
            "check_estimators_dtypes",
            "check_estimators_empty_data_messages",
            "check_estimators_fit_returns_self",
            "check_estimators_nan_inf",
            "check_estimators_overwrite_params",
            "check_estimators_pickle",
            "check_f_contiguous_array_estimator",
            "check_fit2d_1feature",
            "check_fit2d_1sample",
            "check_fit2d_predict1d",
            "check_fit_check_is_fitted",
            "check_fit_idempotent",
            "check_fit_score_takes_y",
            "check_methods_sample_order_invariance",
            "check_methods_subset_invariance",
            "check_n_features_in",
            "check_n_features_in_after_fitting",
            "check_pipeline_consistency",
            "check_positive_only_tag_during_fit",
            "check_readonly_memmap_input",
            "check_sample_weight_equivalence_on_dense_data",
            "check_sample_weights_list",
            "check_sample_weights_not_an_array",
            "check_sample_weights_not_overwritten",
            "check_sample_weights_pandas_series",
            "check_sample_weights_shape",
        ],
        NO_MATCHES,
    ),
    "check_dtype_object": NO_OBJECTS,
    "check_complex_data": NO_COMPLEX,
}
OF_TRANSFORMERS = ["check_transformer_data_not_an_array", "check_transformer_general"]


def expected_failures(estimator):
    """Return why checks of an estimator fail, and what their errors say."""
    if isinstance(estimator, GaussianMixture):
        return OF_MIXTURES if estimator.n_components == 2 else {}
    if isinstance(estimator, GaussianHMM):
        return OF_MARKOV_MODELS
    if isinstance(estimator, FundamentalMatrix):
        return OF_MATCHES
    if isinstance(estimator, Homography):
        return {**OF_MATCHES, **dict.fromkeys(OF_TRANSFORMERS, NO_MATCHES)}
    return {}


@pytest.fixture(autouse=True)
def quiet():
    """Leave out warnings of data that are not made for the models."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        warnings.simplefilter("ignore", SingularCovarianceWarning)
        warnings.filterwarnings("ignore", "the criterion is least at max_components")
        yield


def test_every_estimator_of_two_dimensional_input_is_checked():
    flat = {
        made for made in public_estimators().values() if get_tags(made()).input_tags.two_d_array
    }
    assert flat == {type(estimator) for estimator in ESTIMATORS}


# A check that passes though it is expected to fail is an error: `xfail_strict` in setup.cfg.
@parametrize_with_checks(
    ESTIMATORS,
    expected_failed_checks=lambda made: {
        name: reason for name, (reason, _) in expected_failures(made).items()
    },
)
def test_check(estimator, check):
    check(estimator)


@pytest.mark.parametrize("estimator", list(filter(expected_failures, ESTIMATORS)), ids=repr)
def test_expected_failures_are_for_their_reasons(estimator):
    expected = expected_failures(estimator)
    failed = set()
    for one, check in estimator_checks.estimator_checks_generator(estimator):
        name = check.func.__name__
        if name not in expected:
            continue
        with pytest.raises(Exception) as error:  # noqa: PT011 (what it is, is looked at below)
            check(one)
        assert re.search(expected[name][1], full_text(error.value)), name
        failed.add(name)
    assert failed == set(expected), "of no check at all"


def full_text(error):
    """Return the messages of an error and of those that it came from."""
    text = []
    while error is not None:
        text.append(str(error))
        error = error.__cause__ or error.__context__
    return "\n".join(text)


WITHOUT_DATA = [
    "check_estimator_cloneable",
    "check_estimator_repr",
    "check_estimator_tags_renamed",
    "check_get_params_invariance",
    "check_mixin_order",
    "check_no_attributes_set_in_init",
    "check_parameters_default_constructible",
    "check_set_params",
    "check_valid_tag_types",
]


@each_case(lambda case: not get_tags(case.make()).input_tags.two_d_array)
@pytest.mark.parametrize("check", WITHOUT_DATA)
def test_check_without_data(case, check):
    estimator = case.make()
    getattr(estimator_checks, check)(type(estimator).__name__, estimator)
