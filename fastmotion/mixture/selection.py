CRITERIA = ("bic",)
SelectionResult = object


def select_components(*a):
    raise NotImplementedError
