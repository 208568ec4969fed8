from metamedica.learners.label_propagation import LabelPropagation
from metamedica.testing import check_learner, on_vectors
def test_x(): check_learner(lambda: on_vectors(LabelPropagation))
