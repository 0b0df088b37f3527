using System.Text.Json.Nodes;
using WandbLaunch.Foundation;
using WandbLaunch.Model;
using WandbLaunch.Resources;

namespace WandbLaunch.Tests;

/// <summary>What may be asked of Slurm, by whom.</summary>
public sealed class SlurmArgumentTests
{
    private static readonly ILaunchResource Slurm = Launches.Resources.Get("slurm");

    private static LaunchConfig Config(string json) =>
        new()
        {
            Uri = "https://github.com/me/train",
            Resource = "slurm",
            ResourceArgs = new JsonObject { ["slurm"] = JsonNode.Parse(json) },
        };

    private static IReadOnlyList<string> Words(string json, bool gpu = false) =>
        SlurmArguments.Words(SlurmArguments.Canonical((JsonObject)JsonNode.Parse(json)!), gpu);

    private static string Fault(string json)
    {
        var config = Launches.Resources.Canonical(Config(json));
        return Assert.Throws<LaunchException>(() => Slurm.Validate(config, new LaunchOptions())).ErrorId;
    }

    [Fact]
    public void Typed_arguments_become_one_word_each()
    {
        Assert.Equal(
            [
                "--cpus-per-task=4",
                "--dependency=afterok:12",
                "--exclusive",
                "--gres=gpu:a100:2,shard:1",
                "--mem=16G",
                "--partition=a b",
                "--time=1-02:00:00",
                "--no-requeue",
            ],
            Words(
                """{ "Time": "1.02:00:00", "cpus_per_task": 4, "--mem": "16G", "gres": ["gpu:a100:2", "shard:1"], "exclusive": true, "kill-on-invalid-dep": false, "dependency": "afterok:12", "partition": "a b", "array_throttle": 5, "srun": true }"""
            )
        );
        Assert.Equal(["--gpus=1", "--requeue"], Words("""{ "requeue": true }""", gpu: true));
        Assert.Equal(["--gpus-per-node=2", "--no-requeue"], Words("""{ "gpus_per_node": 2 }""", gpu: true));
    }

    [Theory]
    [InlineData("wrap")]
    [InlineData("export")]
    [InlineData("EXPORT")]
    [InlineData("expor")]
    [InlineData("wra")]
    [InlineData("out")]
    [InlineData("output")]
    [InlineData("chdir")]
    [InlineData("uid")]
    [InlineData("bcast")]
    [InlineData("task_prolog")]
    [InlineData("container-mounts")]
    [InlineData("job-name")]
    [InlineData("array")]
    [InlineData("get-user-env")]
    [InlineData("a b")]
    [InlineData("time=1 --wrap")]
    [InlineData("p")]
    public void Dangerous_ones_are_refused_for_everybody(string name)
    {
        Assert.Equal("SlurmArgumentRefused", Fault(new JsonObject { [name] = "x" }.ToJsonString()));
        Assert.Equal(
            "SlurmArgumentRefused",
            Assert.Throws<LaunchException>(() => Slurm.CheckExtraArgument(name)).ErrorId
        );
    }

    [Theory]
    [InlineData("""{ "time": "1:00\n#SBATCH --uid=0" }""", "SlurmArgumentInvalid")]
    [InlineData("""{ "time": {} }""", "SlurmArgumentInvalid")]
    [InlineData("""{ "requeue": "maybe" }""", "SlurmArgumentInvalid")]
    [InlineData("""{ "array-throttle": 0 }""", "SlurmArgumentInvalid")]
    public void Values_are_of_one_line(string json, string id) => Assert.Equal(id, Fault(json));

    [Fact]
    public void One_name_each() =>
        Assert.Equal(
            "SlurmArgumentTwice",
            Assert
                .Throws<LaunchException>(() => Launches.Resources.Canonical(Config("""{ "mem": 1, "MEM": 2 }""")))
                .ErrorId
        );

    [Fact]
    public void An_item_may_ask_for_the_fixed_list_and_what_its_agents_admin_allows()
    {
        var policy = new AgentPolicy { Resources = ["slurm"] };
        policy.CheckAll(
            Config("""{ "partition": "gpu", "time": 10, "requeue": true, "array-throttle": 2 }"""),
            "me",
            "me"
        );
        var e = Assert.Throws<LaunchException>(() =>
            policy.CheckAll(Config("""{ "reservation": "r1" }"""), "me", "me")
        );
        Assert.Equal("PolicyRefused", e.ErrorId);
        Assert.Contains("-AllowSlurmArgument", e.Message, StringComparison.Ordinal);
        (policy with { ExtraArguments = [Slurm.CheckExtraArgument("Reservation")] }).CheckAll(
            Config("""{ "reservation": "r1" }"""),
            "me",
            "me"
        );

        // What is allowed for another resource by the same name is not allowed for this one.
        Assert.Throws<LaunchException>(() =>
            (policy with { ExtraArguments = ["network"] }).CheckAll(Config("""{ "network": "x" }"""), "me", "me")
        );
    }

    [Fact]
    public void An_agent_takes_no_items_for_it_unless_told() =>
        Assert.Equal(
            "PolicyRefused",
            Assert.Throws<LaunchException>(() => new AgentPolicy().CheckAll(Config("{}"), "me", "me")).ErrorId
        );

    [Theory]
    [InlineData("-oProxyCommand=evil")]
    [InlineData("host;evil")]
    [InlineData("a b")]
    [InlineData("user@")]
    [InlineData("user@-x")]
    public void A_host_is_a_host(string host) =>
        Assert.Equal(
            "SlurmHostInvalid",
            Assert.Throws<LaunchException>(() => SlurmPlace.Of(host, null, "/own")).ErrorId
        );

    [Theory]
    [InlineData(null, null, "/own")]
    [InlineData("me@login", null, "ssh://me@login")]
    [InlineData("ssh://me@login:2222", "/scratch/me/", "ssh://me@login:2222/scratch/me")]
    [InlineData("login", "/s p/x", "ssh://login/s p/x")]
    public void Places_are_read_as_they_were_written(string? host, string? folder, string text)
    {
        var place = SlurmPlace.Of(host, folder, "/own");
        Assert.Equal(text, place.ToString());
        Assert.Equal(place, SlurmPlace.Parse(text));
    }

    [Theory]
    [InlineData("relative")]
    [InlineData("/a%b")]
    [InlineData("/a\nb")]
    public void A_folder_is_a_folder(string folder) =>
        Assert.Equal(
            "SlurmFolderInvalid",
            Assert.Throws<LaunchException>(() => SlurmPlace.Of(null, folder, "/own")).ErrorId
        );
}
