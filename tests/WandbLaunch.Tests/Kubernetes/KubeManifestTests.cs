using System.Text.Json;
using System.Text.Json.Nodes;
using WandbLaunch.Foundation;
using WandbLaunch.Model;
using WandbLaunch.Resources;

namespace WandbLaunch.Tests;

/// <summary>Manifests, compared whole with files. WANDBLAUNCH_TEST_ACCEPT=FOLDER writes what is made now, to be read and taken over.</summary>
public sealed class KubeManifestTests
{
    private static readonly JsonSerializerOptions Indented = new()
    {
        WriteIndented = true,
        Encoder = System.Text.Encodings.Web.JavaScriptEncoder.UnsafeRelaxedJsonEscaping,
    };

    private static string Folder => Path.Combine(AppContext.BaseDirectory, "data", "kubernetes");

    public static TheoryData<string> Cases() =>
        [
            .. Directory
                .GetFiles(Folder, "*.config.json")
                .Select(f => Path.GetFileName(f)[..^".config.json".Length])
                .Order(),
        ];

    [Theory]
    [MemberData(nameof(Cases))]
    public void A_manifest_is_filled_in(string name)
    {
        var config = new ResourceCatalog(new LaunchContext()).Canonical(
            LaunchConfig.FromJson(
                (JsonObject)JsonNode.Parse(File.ReadAllText(Path.Combine(Folder, name + ".config.json")))!
            )
        );
        var made = Make(config);
        var text = made.ToJsonString(Indented) + "\n";
        if (Environment.GetEnvironmentVariable("WANDBLAUNCH_TEST_ACCEPT") is { Length: > 0 } folder)
        {
            File.WriteAllText(Path.Combine(folder, name + ".manifest.json"), text);
        }

        Assert.Equal(File.ReadAllText(Path.Combine(Folder, name + ".manifest.json")), text);
    }

    [Fact]
    public void A_manifest_read_again_is_the_same()
    {
        // What is filled in twice stays as it is: a launch that is prepared anew makes the same.
        foreach (var name in Cases().Select(c => c.Data))
        {
            var config = new ResourceCatalog(new LaunchContext()).Canonical(
                LaunchConfig.FromJson(
                    (JsonObject)JsonNode.Parse(File.ReadAllText(Path.Combine(Folder, name + ".config.json")))!
                )
            );
            Assert.Equal(Make(config).ToJsonString(), Make(config).ToJsonString());
        }
    }

    [Theory]
    [InlineData(null, "abc123", "wandb-launch-abc123")]
    [InlineData("mpi", "abc123", "mpi-abc123")]
    [InlineData("Train_One", "x", "train-one-x-", 8)]
    [InlineData("9lives", "x", "l-9lives-x-", 8)]
    [InlineData(null, "Üx", "wandb-launch--x-", 8)]
    [InlineData(
        "a-very-long-name-that-goes-on-and-on-for-ever-and-ever",
        "x",
        "a-very-long-name-that-goes-on-and-on-",
        8
    )]
    public void Names_are_fixed_and_fit(string? prefix, string id, string expected, int hash = 0)
    {
        var name = KubeNames.ObjectName(prefix, id);
        Assert.Equal(name, KubeNames.ObjectName(prefix, id));
        Assert.StartsWith(expected.TrimEnd('-'), name, StringComparison.Ordinal);
        Assert.True(hash == 0 ? name == expected : name.Length >= expected.TrimEnd('-').Length + 1 + hash - 1, name);
        Assert.True(name.Length <= 45);
        Assert.Matches("^[a-z]([a-z0-9-]*[a-z0-9])?$", name);
        Assert.NotEqual(name, KubeNames.ObjectName(prefix, id + "y"));
    }

    [Fact]
    public void Labels_of_different_ids_differ()
    {
        Assert.Equal("a_b.C-1", KubeNames.LabelOf("a_b.C-1"));
        Assert.NotEqual(KubeNames.LabelOf("a b"), KubeNames.LabelOf("a+b"));
        Assert.NotEqual(KubeNames.LabelOf(new string('x', 64)), KubeNames.LabelOf(new string('x', 65)));
        Assert.All(
            new[] { "ü", "-x-", new string('x', 200), "..." },
            t => Assert.Matches("^(?=.{1,63}$)[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?$", KubeNames.LabelOf(t))
        );
    }

    [Theory]
    [InlineData("""{ "replicas": 3 }""", "KubernetesArgumentUnknown", "replicas")]
    [InlineData("""{ "job_spec": "job.yaml" }""", "ConfigInvalid", "job_spec")]
    [InlineData("""{ "spec": 3 }""", "ConfigInvalid", "spec")]
    [InlineData("""{ "namespace": "No Such" }""", "ConfigInvalid", "namespace")]
    [InlineData("""{ "wait_timeout": "long" }""", "ConfigInvalid", "wait_timeout")]
    [InlineData("""{ "metadata": { "name": {} } }""", "ConfigInvalid", "metadata.name")]
    public void What_cannot_be_meant_is_said_before_anything_is_fetched(string arguments, string id, string named)
    {
        var catalog = new ResourceCatalog(new LaunchContext());
        var fault = Assert.Throws<LaunchException>(() =>
        {
            var config = catalog.Canonical(
                LaunchConfig.FromJson(
                    (JsonObject)
                        JsonNode.Parse(
                            $$"""{ "resource": "k8s", "docker": { "docker_image": "i" }, "resource_args": { "k8s": {{arguments}} } }"""
                        )!
                )
            );
            catalog.Of(config).Validate(config, new LaunchOptions());
        });
        Assert.Equal(id, fault.ErrorId);
        Assert.Contains(named, fault.Message, StringComparison.Ordinal);
    }

    private static JsonObject Make(LaunchConfig config)
    {
        var own = KubePreparation.Own(config);
        var given = KubeArguments.ManifestOf(own);
        var image = config.DockerImage!;
        var environment = new Dictionary<string, string>
        {
            ["WANDB_PROJECT"] = "p",
            ["WANDB_RUN_ID"] = "r1",
            ["WANDB_CONFIG"] = "{\"a\":1}",
        };
        var macros = new KubeMacros(
            new Dictionary<string, string>
            {
                ["image_uri"] = image,
                ["run_id"] = "r1",
                ["project_name"] = "p",
                ["entity_name"] = "e",
                ["author"] = config.Author ?? "",
            }
        );
        var filling = new KubeFilling
        {
            Id = "item-7",
            Namespace = "team-a",
            Image = image,
            ImageIsNamed = KubeMacros.NamesImage(given),
            Command = config.EntryPoint ?? [],
            Arguments = ArgumentSet.Apply([], config.Args),
            CommandWins = config.EntryPoint is not null,
            ArgumentsWin = config.Args is { IsEmpty: false },
            Environment = environment,
            RunId = "r1",
            Agent = "night shift",
            Queue = own.Str("queue_name"),
            FailurePolicy = true,
        };
        var manifest = KubeManifest.WithSecrets(
            KubeManifest.Make(macros.Fill(given), filling),
            "the-secret",
            ["WANDB_API_KEY"]
        );
        var services = KubeArguments
            .Services(config)
            .Select(s =>
                KubeManifest.WithSecrets(KubeManifest.Service(macros.Fill(s), filling), "the-secret", ["WANDB_API_KEY"])
            )
            .ToList();
        return services.Count == 0
            ? manifest
            : new JsonObject { ["manifest"] = manifest, ["services"] = new JsonArray([.. services]) };
    }
}
