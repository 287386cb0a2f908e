"""The cluster files in docs/ are what Ray and KubeRay take, as far as that can be known without a cluster."""

from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

FOLDER = Path(__file__).parents[2] / "docs" / "cluster"


def read(name: str) -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((FOLDER / name).read_text())
    return loaded


def test_ray_accepts_the_cloud_file() -> None:
    from ray.autoscaler._private.util import prepare_config, validate_config

    config = read("aws.yaml")
    validate_config(prepare_config(config))
    with pytest.raises(jsonschema.ValidationError):
        validate_config(prepare_config(config | {"max_workers": "nine"}))
    with pytest.raises(jsonschema.ValidationError):
        validate_config(prepare_config(config | {"rsync_filter": ".gitignore"}))
    assert config["head_node_type"] in config["available_node_types"]
    assert "--dashboard-host=127.0.0.1" in " ".join(config["head_start_ray_commands"])


def test_the_cloud_file_sends_the_clone_from_whose_root_it_is_used() -> None:
    root = FOLDER.parents[1]
    config = read("aws.yaml")
    sent = [local for local in config["file_mounts"].values() if not local.startswith("~")]
    assert sent == ["."]
    assert all((root / name).is_file() for name in ["pyproject.toml", *config["rsync_filter"]])
    assert f"ray up {(FOLDER / 'aws.yaml').relative_to(root)}\n" in (FOLDER / "aws.yaml").read_text()


def test_the_kubernetes_file_has_what_a_ray_cluster_requires() -> None:
    cluster = read("kuberay.yaml")
    assert (cluster["apiVersion"], cluster["kind"]) == ("ray.io/v1", "RayCluster")
    spec = cluster["spec"]
    assert set(spec) <= {
        "rayVersion",
        "enableInTreeAutoscaling",
        "autoscalerOptions",
        "headGroupSpec",
        "workerGroupSpecs",
        "authOptions",
        "suspend",
        "headServiceAnnotations",
        "gcsFaultToleranceOptions",
        "managedBy",
    }
    groups = [spec["headGroupSpec"], *spec["workerGroupSpecs"]]
    images = set()
    for group in groups:
        assert all(isinstance(value, str) for value in group["rayStartParams"].values())
        pod = group["template"]["spec"]
        volumes = {volume["name"] for volume in pod["volumes"]}
        for container in pod["containers"]:
            images.add(container["image"])
            assert container["resources"]["limits"] == container["resources"]["requests"]
            assert {mount["name"] for mount in container["volumeMounts"]} <= volumes
            names = {variable["name"] for variable in container["env"]}
            assert {"RAY_AUTH_MODE", "RAY_AUTH_TOKEN"} <= names
    assert len(images) == 1, "head and workers must run the same versions"
    for group in spec["workerGroupSpecs"]:
        assert group["minReplicas"] <= group["replicas"] <= group["maxReplicas"]


def test_the_files_name_the_version_of_ray_that_is_tested() -> None:
    constraints = (FOLDER.parents[1] / "constraints.txt").read_text()
    assert f"ray=={read('kuberay.yaml')['spec']['rayVersion']}" in constraints
