ConditionalMixture = object


def condition_mixture(*a):
    raise NotImplementedError
