using System.Formats.Tar;
using System.IO.Compression;
using System.Security.Cryptography;
using System.Text.Json;
using System.Text.Json.Nodes;
using WandbLaunch.Foundation;
using WandbLaunch.Model;
using WandbLaunch.Python;
using WandbLaunch.Resources;
using WandbLaunch.Sources;

namespace WandbLaunch.Tests;

/// <summary>What a build in the cluster is made of, compared whole with files. WANDBLAUNCH_TEST_ACCEPT=FOLDER writes what is made now.</summary>
public sealed class KubeBuildTests
{
    private static readonly JsonSerializerOptions Indented = new()
    {
        WriteIndented = true,
        Encoder = System.Text.Encodings.Web.JavaScriptEncoder.UnsafeRelaxedJsonEscaping,
    };

    private static LocalContainerResource Maker { get; } = new(new LaunchContext());

    private static ImagePlan Base(string requirements = "") =>
        Maker.PlanOf(
            new ResourceRequest(
                new LaunchConfig { BaseImage = "python:3.11-bookworm" },
                new LaunchOptions(),
                new ResolvedRun
                {
                    PythonVersion = "3.11",
                    Requirements =
                        requirements.Length == 0 ? RequirementSet.None : RequirementSet.Create(requirements, null),
                },
                new LaunchContext().Cache
            )
        );

    private static void Same(string name, string text)
    {
        if (Environment.GetEnvironmentVariable("WANDBLAUNCH_TEST_ACCEPT") is { Length: > 0 } folder)
        {
            File.WriteAllText(Path.Combine(folder, name), text);
        }

        Assert.Equal(File.ReadAllText(Path.Combine(AppContext.BaseDirectory, "data", "kubernetes", name)), text);
    }

    [Theory]
    [InlineData("build-kaniko", "kaniko", true)]
    [InlineData("build-buildkit", "buildkit=registry.example.org/buildkit:1", false)]
    public void A_build_is_a_Job_and_Secrets_of_its_own(string name, string builder, bool withAll)
    {
        var build = new KubeBuildManifest
        {
            Builder = ClusterBuilder.Parse(builder)!,
            Namespace = "team-a",
            Image = "registry.example.org/team/launch:0123456789abcdef",
            BaseImage = "python:3.11-bookworm",
            PieceCount = 2,
            HasLogin = withAll,
            HasSettings = withAll,
            FailurePolicy = withAll,
        };
        var owner = new JsonObject { ["metadata"] = new JsonObject { ["uid"] = "uid-of-the-job" } };
        var secrets = build
            .Secrets(
                owner,
                [
                    [1, 2],
                    [3],
                ],
                withAll ? """{"auths":{}}""" : null,
                withAll
                    ? new Dictionary<string, string> { ["pip"] = "export A='b'\n" }
                    : new Dictionary<string, string>()
            )
            .ToArray<JsonNode>();
        var job = build.Job();
        Same(
            name + ".json",
            new JsonObject { ["job"] = job, ["secrets"] = new JsonArray(secrets) }.ToJsonString(Indented) + "\n"
        );

        // The same image is the same Job, another one another; and its name is one that pods of it can have.
        Assert.Equal(build.Name, (build with { Namespace = "other" }).Name);
        Assert.NotEqual(build.Name, (build with { Image = build.Image + "0" }).Name);
        Assert.True(build.Name.Length <= 45, build.Name);
    }

    [Theory]
    [InlineData("build-kaniko", "kaniko")]
    [InlineData("build-buildkit", "buildkit")]
    public void A_Dockerfile_has_packages_below_the_code_and_no_setting_in_a_layer(string name, string builder) =>
        Same(
            name + ".Dockerfile",
            KubeBuildContext.Dockerfile(Base("numpy==1.26.4\n"), ClusterBuilder.Parse(builder)!, true)
        );

    [Fact]
    public void Without_packages_and_code_there_is_only_the_base()
    {
        var text = KubeBuildContext.Dockerfile(Base(), ClusterBuilder.Parse("kaniko")!, false);
        Assert.DoesNotContain("bootstrap", text, StringComparison.Ordinal);
        Assert.DoesNotContain("COPY", text, StringComparison.Ordinal);
        Assert.EndsWith("LABEL ai.wandb.launch-image=run\n", text, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Code_goes_in_pieces_that_make_one_archive()
    {
        var token = TestContext.Current.CancellationToken;
        var code = Fixture.NewFolder("build-code");
        await File.WriteAllTextAsync(Path.Combine(code, "main.py"), "print(1)", token);
        await File.WriteAllBytesAsync(
            Path.Combine(code, "weights.bin"),
            RandomNumberGenerator.GetBytes(2 * KubeBuildContext.PieceBytes),
            token
        );
        var @base = Base("numpy==1.26.4\n");
        var pieces = await KubeBuildContext.PackAsync(Maker, @base, "FROM x\n", code, token);
        Assert.Equal(3, pieces.Count);
        Assert.All(pieces, p => Assert.InRange(p.Length, 1, KubeBuildContext.PieceBytes));
        using var whole = new MemoryStream([.. pieces.SelectMany(p => p)]);
        await using var unpacked = new GZipStream(whole, CompressionMode.Decompress);
        await using var reader = new TarReader(unpacked);
        var found = new Dictionary<string, long>();
        while (await reader.GetNextEntryAsync(false, token) is { } entry)
        {
            found[entry.Name] = entry.Length;
        }

        Assert.Equal(
            [
                "Dockerfile",
                "code",
                "code/main.py",
                "code/weights.bin",
                "wandblaunch/bootstrap.py",
                "wandblaunch/requirements.txt",
            ],
            found.Keys.Select(k => k.TrimEnd('/')).Order(StringComparer.Ordinal)
        );
        Assert.Equal(2 * KubeBuildContext.PieceBytes, found["code/weights.bin"]);

        // Data is no code.
        await File.WriteAllBytesAsync(
            Path.Combine(code, "data.bin"),
            RandomNumberGenerator.GetBytes((KubeBuildContext.MostPieces + 1) * KubeBuildContext.PieceBytes),
            token
        );
        var fault = await Assert.ThrowsAsync<LaunchException>(() =>
            KubeBuildContext.PackAsync(Maker, @base, "FROM x\n", code, token)
        );
        Assert.Equal("ImageContextTooLarge", fault.ErrorId);
        Assert.Contains("-ImageBuilder docker", fault.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task The_settings_of_pip_are_files_of_a_Secret_and_none_where_there_are_none()
    {
        var token = TestContext.Current.CancellationToken;
        Assert.Empty(await KubeBuildContext.SettingsAsync(new PipSettings(), token));
        var config = Path.Combine(Fixture.NewFolder("pip"), "pip.conf");
        await File.WriteAllTextAsync(config, "[global]\ntimeout = 9\n", token);
        var files = await KubeBuildContext.SettingsAsync(
            new PipSettings { IndexUrl = "https://me:it's@pypi.example.org/simple", ConfigFile = config },
            token
        );
        Assert.Equal(["pip", "pip.conf"], files.Keys);
        Assert.Contains(
            "export PIP_INDEX_URL='https://me:it'\\''s@pypi.example.org/simple'\n",
            files["pip"],
            StringComparison.Ordinal
        );
        Assert.Contains("export PIP_CONFIG_FILE='/run/wandblaunch/pip.conf'\n", files["pip"], StringComparison.Ordinal);
        var fault = await Assert.ThrowsAsync<LaunchException>(() =>
            KubeBuildContext.SettingsAsync(new PipSettings { FindLinks = ["/wheels"] }, token)
        );
        Assert.Equal(("PipFolderNotInCluster", "/wheels"), (fault.ErrorId, fault.Target));
    }

    [Theory]
    [InlineData(null, null, null)]
    [InlineData("docker", null, null)]
    [InlineData("kaniko", "kaniko", "gcr.io/kaniko-project/executor:v1.23.2")]
    [InlineData("buildkit", "buildkit", "docker.io/moby/buildkit:v0.16.0-rootless")]
    [InlineData("kaniko=r.example.org/k:1", "kaniko", "r.example.org/k:1")]
    public void A_builder_is_named_with_or_without_its_image(string? text, string? name, string? image)
    {
        var builder = ClusterBuilder.Parse(text);
        Assert.Equal((name, image), (builder?.Name, builder?.Image));
    }

    [Theory]
    [InlineData("podman")]
    [InlineData("docker=x")]
    [InlineData("Kaniko")]
    public void A_builder_that_there_is_not_is_an_error_with_those_that_there_are(string text)
    {
        var fault = Assert.Throws<LaunchException>(() => ClusterBuilder.Parse(text));
        Assert.Equal(("ImageBuilderInvalid", text), (fault.ErrorId, fault.Target));
        Assert.Contains("kaniko", fault.Message, StringComparison.Ordinal);
        Assert.Throws<LaunchException>(() => ClusterBuilder.Parse("kaniko=NO SUCH"));
    }
}
