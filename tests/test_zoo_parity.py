"""Public nets of other people with seeded weights: every engine computes what real Caffe computes."""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
import zoo
from nets import ENGINES

pytestmark = [pytest.mark.shared, pytest.mark.caffe]

SAMPLE = (
    "kpzhang93+MTCNN_face_detection_alignment__code__codes__MTCNNv1__model__det2.prototxt",
    "BVLC+caffe__examples__cifar10__cifar10_full.prototxt",
    "kpzhang93+MTCNN_face_detection_alignment__code__codes__MTCNNv2__model__det4.prototxt",
    "opencv+open_model_zoo__models__intel__vehicle-attributes-recognition-barrier-0039"
    "__vehicle-attributes-recognition-barrier-0039.prototxt",
    "opencv+open_model_zoo__models__intel__head-pose-estimation-adas-0001__head-pose-estimation-adas-0001.prototxt",
    "opencv+open_model_zoo__models__intel__age-gender-recognition-retail-0013"
    "__age-gender-recognition-retail-0013.prototxt",
    "opencv+open_model_zoo__models__intel__emotions-recognition-retail-0003__emotions-recognition-retail-0003.prototxt",
    "intel+caffe__models__intel_optimized_models__dcgan__generator.prototxt",
    "opencv+open_model_zoo__models__intel__facial-landmarks-35-adas-0002__facial-landmarks-35-adas-0002.prototxt",
    "zhoubolei+cnnvisualizer__model__alexnet_deploy.prototxt",
    "DeepScale+SqueezeNet__SqueezeNet_v1.0__deploy.prototxt",
    "cvjena+cnn-models__ResNet_preact__ResNet10_cvgj__deploy.prototxt",
    "gcucurull+CAM-Python__models__deploy_alexnetplusCAM_imagenet.prototxt",
    "mrgloom+kaggle-dogs-vs-cats-caffe__demo__NetworkInNetwork__deploy.prototxt",
    "beniz+deepdetect__templates__caffe__nin__deploy.prototxt",
    "AlfredXiangWu+face_verification_experiment__proto__LightenedCNN_A_deploy.prototxt",
    "soeaver+caffe-model__cls__inception__deploy_inception-v1-tf.prototxt",
    "mrgloom+kaggle-dogs-vs-cats-caffe__learning_from_scratch__GoogLeNet__deploy.prototxt",
    "CMU-Perceptual-Computing-Lab+openpose__models__pose__body_25__pose_deploy.prototxt",
    "beniz+deepdetect__templates__caffe__resnet_18__deploy.prototxt",
)
"""What `zoo.sample` chooses."""

FIRST_TOP = r"blob '\w+': OpenCV names only the first top of a layer"
REFUSED = {
    ("opencv", "kpzhang93+MTCNN_face_detection_alignment__code__codes__MTCNNv2__model__det4.prototxt"): FIRST_TOP,
    ("opencv", "AlfredXiangWu+face_verification_experiment__proto__LightenedCNN_A_deploy.prototxt"): FIRST_TOP,
}
"""What an engine that cannot be exact says of which layer, by engine and net."""


@lru_cache(1)
def case(shared: Path, name: str) -> zoo.Case:
    return zoo.case(shared / "data/prototxt-zoo", name)


def test_the_sample_is_what_its_rule_chooses(shared):
    assert list(SAMPLE) == zoo.sample(shared / "data/prototxt-zoo")


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", SAMPLE)
def test_public_nets_have_caffes_values(engine, name, shared):
    found = case(shared, name)
    assert found.reference == "Caffe"
    row = zoo.compare(name, engine, found)
    if (engine, name) in REFUSED:
        assert re.search(REFUSED[engine, name], row.note)
    else:
        assert not row.note
        assert row.values == len(found.truth)
    assert not row.deviates, row


@pytest.mark.parametrize("name", SAMPLE)
def test_seeded_weights_keep_values_in_range(name, shared):
    for value, array in case(shared, name).truth.items():
        assert 1e-3 < np.abs(array).max() < 1e3, value
