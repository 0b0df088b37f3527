using System.Text.Json.Nodes;
using WandbLaunch.Foundation;
using WandbLaunch.Model;
using WandbLaunch.Resources;

namespace WandbLaunch.Tests;

/// <summary>What a queue's manifest may not hold, and what an admin can allow of it.</summary>
public sealed class KubePolicyTests
{
    private static void Check(string pod, params string[] allowed) =>
        CheckWhole($$"""{ "spec": { "template": { "spec": {{pod}} } } }""", null, allowed);

    private static void CheckWhole(string arguments, string? services = null, params string[] allowed)
    {
        var catalog = new ResourceCatalog(new LaunchContext());
        var policy = new AgentPolicy
        {
            Resources = ["kubernetes"],
            Images = ["good/*"],
            ExtraArguments = [.. allowed.Select(KubePolicy.CheckRule)],
        };
        var config = catalog.Canonical(
            LaunchConfig.FromJson(
                (JsonObject)
                    JsonNode.Parse(
                        $$"""{ "resource": "kubernetes", "docker": { "docker_image": "good/one" }, "resource_args": { "kubernetes": {{arguments}} }, "additional_services": {{services ?? "[]"}} }"""
                    )!
            )
        );
        catalog
            .Allowed(config, policy)
            .ApplyPolicy(
                config,
                new LaunchOptions { Agent = "a", CheckImage = policy.CheckImage },
                policy,
                new ItemContext(null)
            );
    }

    private static void Refused(string named, Action check)
    {
        var fault = Assert.Throws<LaunchException>(check);
        Assert.Equal((AgentPolicy.Refusal, LaunchErrorCategory.PermissionDenied), (fault.ErrorId, fault.Category));
        Assert.Contains(named, fault.Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("""{ "hostPID": true }""", "hostPID")]
    [InlineData("""{ "hostIPC": true }""", "hostIPC")]
    [InlineData("""{ "hostNetwork": "true" }""", "hostNetwork")]
    [InlineData("""{ "shareProcessNamespace": true }""", "shareProcessNamespace")]
    [InlineData("""{ "hostUsers": true }""", "hostUsers")]
    [InlineData("""{ "automountServiceAccountToken": true }""", "automountServiceAccountToken")]
    [InlineData("""{ "securityContext": { "runAsUser": 0 } }""", "securityContext")]
    [InlineData(
        """{ "containers": [{ "securityContext": { "privileged": true } }] }""",
        "containers[0].securityContext"
    )]
    [InlineData(
        """{ "initContainers": [{ "securityContext": { "privileged": true } }] }""",
        "initContainers[0].securityContext"
    )]
    [InlineData("""{ "ephemeralContainers": [{ "name": "x" }] }""", "ephemeralContainers")]
    [InlineData("""{ "volumes": [{ "name": "v", "hostPath": { "path": "/" } }] }""", "hostPath")]
    [InlineData("""{ "volumes": [{ "name": "v", "projected": { "sources": [] } }] }""", "projected")]
    [InlineData(
        """{ "volumes": [{ "name": "v", "projected": { "sources": [{ "serviceAccountToken": { "path": "t" } }] } }] }""",
        "projected"
    )]
    [InlineData("""{ "volumes": [{ "name": "v", "nfs": { "server": "s", "path": "/" } }] }""", "nfs")]
    [InlineData("""{ "serviceAccountToken": { "path": "t" } }""", "serviceAccountToken")]
    [InlineData("""{ "containers": [{ "ports": [{ "containerPort": 80, "hostPort": 80 }] }] }""", "hostPort")]
    [InlineData(
        """{ "containers": [{ "volumeMounts": [{ "mountPropagation": "Bidirectional" }] }] }""",
        "mountPropagation"
    )]
    [InlineData("""{ "containers": [{ "volumeDevices": [{ "devicePath": "/dev/x" }] }] }""", "volumeDevices")]
    public void Some_things_are_never_allowed(string pod, string named)
    {
        Refused(named, () => Check(pod));
        Refused(named, () => Check(pod, "secret=*", "service-account=*", "csi=*", "claim=*"));

        // Nested as deep as a custom resource likes.
        Refused(
            named,
            () =>
                CheckWhole(
                    $$"""{ "apiVersion": "x.io/v1", "kind": "Deep", "spec": { "a": [{ "b": { "template": { "spec": {{pod}} } } }] } }""",
                    null,
                    "kind=Deep.x.io"
                )
        );
    }

    [Theory]
    [InlineData("""{ "serviceAccountName": "admin" }""", "service-account=admin")]
    [InlineData("""{ "serviceAccount": "admin" }""", "service-account=admin")]
    [InlineData("""{ "imagePullSecrets": [{ "name": "regcred" }] }""", "pull-secret=regcred")]
    [InlineData("""{ "priorityClassName": "high" }""", "priority-class=high")]
    [InlineData("""{ "nodeName": "n1" }""", "node=n1")]
    [InlineData("""{ "tolerations": [{ "key": "gpu", "operator": "Exists" }] }""", "toleration=gpu")]
    [InlineData("""{ "tolerations": [{ "operator": "Exists" }] }""", "toleration=*")]
    [InlineData("""{ "volumes": [{ "name": "v", "secret": { "secretName": "db" } }] }""", "secret=db")]
    [InlineData("""{ "containers": [{ "envFrom": [{ "secretRef": { "name": "db" } }] }] }""", "secret=db")]
    [InlineData(
        """{ "containers": [{ "env": [{ "name": "A", "valueFrom": { "secretKeyRef": { "name": "db", "key": "k" } } }] }] }""",
        "secret=db"
    )]
    [InlineData("""{ "volumes": [{ "name": "v", "configMap": { "name": "c" } }] }""", "config-map=c")]
    [InlineData("""{ "containers": [{ "envFrom": [{ "configMapRef": { "name": "c" } }] }] }""", "config-map=c")]
    [InlineData("""{ "volumes": [{ "name": "v", "persistentVolumeClaim": { "claimName": "data" } }] }""", "claim=data")]
    [InlineData("""{ "volumes": [{ "name": "v", "csi": { "driver": "d.io" } }] }""", "csi=d.io")]
    public void Some_things_an_admin_can_allow_by_name(string pod, string rule)
    {
        Refused($"-AllowKubeArgument {rule}", () => Check(pod));
        Check(pod, rule);
        Refused(rule, () => Check(pod, rule.Split('=')[0] + "=other"));
    }

    [Fact]
    public void What_every_run_needs_is_allowed()
    {
        Check(
            """
            { "nodeSelector": { "gpu": "a100" }, "affinity": {}, "hostNetwork": false, "restartPolicy": "Never",
              "volumes": [{ "name": "v", "emptyDir": { "medium": "Memory" } }],
              "containers": [{ "image": "good/two", "resources": { "limits": { "nvidia.com/gpu": 1 } }, "env": [{ "name": "A", "value": "b" }, { "name": "B", "valueFrom": { "fieldRef": { "fieldPath": "metadata.name" } } }], "volumeMounts": [{ "name": "v", "mountPath": "/v" }] }] }
            """
        );
        Refused("the image 'bad/one'", () => Check("""{ "containers": [{ "image": "bad/one" }] }"""));
        Refused("the image 'bad/one'", () => Check("""{ "initContainers": [{ "image": "bad/one" }] }"""));
        Refused(
            "appArmor",
            () =>
                CheckWhole(
                    """{ "metadata": { "annotations": { "container.appArmor.security.beta.kubernetes.io/x": "unconfined" } } }"""
                )
        );
        Refused("ownerReferences", () => CheckWhole("""{ "metadata": { "ownerReferences": [{ "name": "x" }] } }"""));
        Refused(
            "priority-class=p",
            () => CheckWhole("""{ "metadata": { "labels": { "kueue.x-k8s.io/priority-class": "p" } } }""")
        );
    }

    [Fact]
    public void Kinds_clusters_and_services_are_the_agents_choice()
    {
        const string Torch = """{ "apiVersion": "kubeflow.org/v1", "kind": "PyTorchJob", "spec": {} }""";
        Refused("kind=PyTorchJob.kubeflow.org", () => CheckWhole(Torch));
        CheckWhole(Torch, null, "kind=*.kubeflow.org");
        Refused("kubeconfig", () => CheckWhole("""{ "configFile": "/etc/admin.conf" }"""));
        Refused("context=prod", () => CheckWhole("""{ "context": "prod" }"""));
        CheckWhole("""{ "context": "prod" }""", null, "context=prod");

        CheckWhole(
            "{}",
            """[{ "config": { "apiVersion": "v1", "kind": "Service", "metadata": { "name": "s" }, "spec": { "ports": [] } } }]"""
        );
        Refused(
            "ClusterIP",
            () =>
                CheckWhole(
                    "{}",
                    """[{ "config": { "apiVersion": "v1", "kind": "Service", "metadata": { "name": "s" }, "spec": { "type": "LoadBalancer" } } }]"""
                )
        );
        Refused(
            "kind=Secret",
            () =>
                CheckWhole(
                    "{}",
                    """[{ "config": { "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "s" } } }]"""
                )
        );
        Refused(
            "kind=RoleBinding.rbac.authorization.k8s.io",
            () =>
                CheckWhole(
                    "{}",
                    """[{ "config": { "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": { "name": "s" } } }]"""
                )
        );

        // Its own config map, and not another.
        const string Own =
            """[{ "config": { "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "mine" }, "data": { "namespace": "x" } } }]""";
        const string Uses =
            """{ "spec": { "template": { "spec": { "volumes": [{ "name": "v", "configMap": { "name": "mine" } }] } } } }""";
        CheckWhole(Uses, Own);
        Refused("config-map=mine", () => CheckWhole(Uses));
    }

    [Theory]
    [InlineData("privileged")]
    [InlineData("hostPath=/")]
    [InlineData("namespace=")]
    public void A_rule_that_there_is_not_is_said(string given) =>
        Assert.Equal(
            "ResourceArgumentUnknown",
            Assert.Throws<LaunchException>(() => KubePolicy.CheckRule(given)).ErrorId
        );
}
