using System.Text.Json.Nodes;
using WandbLaunch.Foundation;
using WandbLaunch.Model;
using WandbLaunch.Python;
using WandbLaunch.Resources;

namespace WandbLaunch.Tests;

[Collection(SessionCollection.Name)]
public sealed class LaunchConfigTests
{
    private static string[] Apply(string[] own, ArgumentSet over) => [.. ArgumentSet.Apply(own, over)];

    private static ArgumentSet Pairs(params (string, object?)[] pairs) =>
        ArgumentSet.FromPairs(pairs.Select(p => new KeyValuePair<string, object?>(p.Item1, p.Item2)));

    [Fact]
    public void Overrides_take_the_place_of_the_runs_own_words_in_every_form()
    {
        string[] own = ["input.txt", "--lr", "0.1", "--epochs=3", "--verbose", "--name", "two words", "-x", "-1"];
        Assert.Equal(
            ["input.txt", "--lr", "0.5", "--epochs=9", "--verbose", "--name", "two words", "-x", "-1"],
            Apply(own, ArgumentSet.FromWords(["lr=0.5", "--epochs=9"]))
        );
        Assert.Equal(
            [
                "input.txt",
                "--lr",
                "0.1",
                "--epochs=3",
                "--verbose",
                "--name",
                "$HOME 'q' \"d\" 🙂\n",
                "-x",
                "2",
                "--new",
                "1",
            ],
            Apply(own, Pairs(("name", "$HOME 'q' \"d\" 🙂\n"), ("x", 2), ("new", 1L)))
        );
        Assert.Equal(own, Apply(own, ArgumentSet.FromWords([])));
        Assert.Equal(["other", "--lr", "1"], Apply(own, ArgumentSet.FromWords(["other", "--lr", "1"])));
    }

    [Fact]
    public void Null_is_a_bare_flag_and_true_the_word()
    {
        // Protocol C.4 and K 4.
        Assert.Equal(
            ["--bare", "--flag", "True", "--off", "False", "--many", "1", "2"],
            Apply([], Pairs(("bare", null), ("flag", true), ("off", false), ("many", new object?[] { 1, 2 })))
        );
        Assert.Equal(["--bare"], Apply([], ArgumentSet.FromWords(["--bare"])));
    }

    [Fact]
    public void The_same_name_twice_in_a_list_is_an_error() =>
        Assert.Equal(
            "ArgumentTwice",
            Assert.Throws<LaunchException>(() => ArgumentSet.Named(["--lr", "1", "lr=2"])).ErrorId
        );

    [Fact]
    public void A_config_of_every_key_survives_the_way_through_json()
    {
        const string Text = """
            {
              "uri": "u", "entity": "e", "project": "p", "name": "n", "resource": "local-container",
              "resource_args": {"local-container": {"memory": "1g"}},
              "docker": {"docker_image": "i", "user_id": 7, "args": {"cpus": 2}, "base_image": "b", "python_version": "3.9", "cuda_version": "11.0", "system_packages": ["git"]},
              "git": {"version": "v", "repo": "r"},
              "overrides": {"args": ["--lr", "1"], "run_config": {"a": {"b": [1, 2.5, null, true]}}, "artifacts": {"s": {"name": "x"}}, "entry_point": ["python", "t.py"], "dockerfile": "D"},
              "cuda": false, "run_id": "abc", "job": "e/p/j:v1"
            }
            """;
        var config = LaunchConfig.FromText(Text, "test");
        Assert.True(JsonNode.DeepEquals(JsonNode.Parse(Text), config.ToJson()), config.ToJson().ToJsonString());
        Assert.Equal("x", LaunchConfig.FromText("{\"git\": {\"git_version\": \"x\"}}", "").GitVersion);
    }

    [Fact]
    public void Yaml_json_text_and_files_are_the_same()
    {
        var folder = Fixture.NewFolder("config");
        File.WriteAllText(
            Path.Combine(folder, "c.json"),
            "{\"uri\": \"u\", \"overrides\": {\"args\": {\"lr\": 0.1, \"deep\": true}}}"
        );
        File.WriteAllText(Path.Combine(folder, "c.yaml"), "uri: u\noverrides:\n  args:\n    lr: 0.1\n    deep: true\n");
        var expected = "{\"uri\":\"u\",\"overrides\":{\"args\":{\"lr\":0.1,\"deep\":true}}}";
        Assert.Equal(expected, LaunchConfig.Read("c.json", folder).ToJson().ToJsonString());
        Assert.Equal(expected, LaunchConfig.Read("c.yaml", folder).ToJson().ToJsonString());
        Assert.Equal(
            expected,
            LaunchConfig.Read("uri: u\noverrides: {args: {lr: 0.1, deep: true}}", folder).ToJson().ToJsonString()
        );
        Assert.Equal(
            "ConfigNotFound",
            Assert.Throws<LaunchException>(() => LaunchConfig.Read("nope.json", folder)).ErrorId
        );
        Assert.Equal(
            "ConfigInvalid",
            Assert.Throws<LaunchException>(() => LaunchConfig.Read("{\"uri\": }", folder)).ErrorId
        );
        Assert.Equal(
            "ConfigInvalid",
            Assert.Throws<LaunchException>(() => LaunchConfig.Read("{\"docker\": 3}", folder)).ErrorId
        );
    }

    [Fact]
    public void Parameters_win_over_the_config_name_by_name()
    {
        using var shell = new Shell(false);
        var config = Assert.Single(
            shell.Ok(
                """
                New-WandbLaunchConfig -Config '{"uri":"./train","project":"a","name":"n","overrides":{"args":["--lr","0.1","--epochs","3"],"run_config":{"x":1,"y":2}}}' -Project b -Argument 'lr=0.5' -RunConfig @{ y = 3; z = @(1,2) } -DockerArgs 'memory=1g','env=A=1','env=B=2'
                """
            )
        );
        var json = (JsonObject)
            JsonNode.Parse(
                shell.Ok("$config.overrides.args | ForEach-Object { $_ }", ("config", config)).Count > 0
                    ? ToJson(config)
                    : "{}"
            )!;
        Assert.Equal(
            """{"uri":"./train","project":"b","name":"n","docker":{"args":{"memory":"1g","env":["A=1","B=2"]}},"overrides":{"args":{"epochs":"3","lr":"0.5"},"run_config":{"x":1,"y":3,"z":[1,2]}}}""",
            json.ToJsonString()
        );
    }

    // What ConvertTo-Json writes: properties by their names.
    private static string ToJson(System.Management.Automation.PSObject o) => Node(o)!.ToJsonString();

    private static JsonNode? Node(object? value) =>
        value switch
        {
            null => null,
            System.Management.Automation.PSObject { BaseObject: System.Management.Automation.PSCustomObject } o =>
                new JsonObject(o.Properties.Select(p => KeyValuePair.Create(p.Name, Node(p.Value)))),
            System.Management.Automation.PSObject o => Node(o.BaseObject),
            string s => JsonValue.Create(s),
            System.Collections.IEnumerable list => new JsonArray([.. list.Cast<object?>().Select(Node)]),
            _ => JsonNode.Parse(System.Text.Json.JsonSerializer.Serialize(value)),
        };

    [Theory]
    [InlineData("https://wandb.ai/me/demo/runs/22stxuh9", LaunchUriKind.WandbRun, "me/demo/22stxuh9")]
    [InlineData(
        "https://wandb.ai/me/demo/runs/22stxuh9/overview?workspace=user",
        LaunchUriKind.WandbRun,
        "me/demo/22stxuh9"
    )]
    [InlineData("http://localhost:8080/me/demo/runs/abc", LaunchUriKind.WandbRun, "me/demo/abc")]
    [InlineData("http://10.0.0.7:8080/me/demo/runs/abc", LaunchUriKind.WandbRun, "me/demo/abc")]
    [InlineData("https://wandb.corp.example/me/demo/runs/abc", LaunchUriKind.WandbRun, "me/demo/abc")]
    [InlineData("https://ml.corp.example/me/demo/runs/abc", LaunchUriKind.WandbRun, "me/demo/abc")]
    [InlineData("/me/demo/runs/12345678", LaunchUriKind.WandbRun, "me/demo/12345678")]
    [InlineData("me/demo/runs/12345678", LaunchUriKind.WandbRun, "me/demo/12345678")]
    public void Runs_are_known_by_every_form(string text, object kind, string run)
    {
        var uri = LaunchUri.Parse(text, "/");
        Assert.Equal(((LaunchUriKind)kind, run), (uri.Kind, uri.Run.ToString()));
    }

    [Theory]
    [InlineData("https://github.com/u/r", "https://github.com/u/r", null, null)]
    [InlineData("https://github.com/u/r.git@dev", "https://github.com/u/r.git", "dev", null)]
    [InlineData("https://github.com/u/r/tree/main/sub/dir", "https://github.com/u/r", "main", "sub/dir")]
    [InlineData("https://gitlab.example/g/s/r/-/tree/v1/sub", "https://gitlab.example/g/s/r", "v1", "sub")]
    [InlineData("https://bitbucket.org/u/r/src/abc123/x", "https://bitbucket.org/u/r", "abc123", "x")]
    [InlineData("https://me@dev.azure.com/o/p/_git/r", "https://me@dev.azure.com/o/p/_git/r", null, null)]
    [InlineData("git@github.com:u/r.git@v1.0#sub", "git@github.com:u/r.git", "v1.0", "sub")]
    [InlineData("git@github.com:u/r", "git@github.com:u/r", null, null)]
    [InlineData("ssh://git@host:2222/u/r.git@feature/x", "ssh://git@host:2222/u/r.git", "feature/x", null)]
    [InlineData("file:///tmp/r@main", "file:///tmp/r", "main", null)]
    public void Git_addresses_are_split(string text, string location, string? reference, string? folder)
    {
        var uri = LaunchUri.Parse(text, "/");
        Assert.Equal(
            (LaunchUriKind.Git, location, reference, folder),
            (uri.Kind, uri.Location, uri.Ref, uri.Subfolder)
        );
    }

    [Theory]
    [InlineData("-oProxyCommand=x", "UriRefused")]
    [InlineData("ext::sh -c id", "GitTransportRefused")]
    [InlineData("fd::17", "GitTransportRefused")]
    [InlineData("ssh://-oProxyCommand=x/r", "UriRefused")]
    [InlineData("https://host/--upload-pack=x/r", "UriRefused")]
    [InlineData("https://github.com/u/r@--upload-pack=x", "GitVersionRefused")]
    [InlineData("https://github.com/u/r@-x", "GitVersionRefused")]
    [InlineData("https://github.com/u/r@a..b", "GitVersionRefused")]
    [InlineData("https://github.com/u/r#../x", "PathOutside")]
    [InlineData("http://github.com/u/r", "GitTransportRefused")]
    [InlineData("ftp://github.com/u/r", "UriNotSupported")]
    [InlineData("https://github.com", "UriNotSupported")]
    [InlineData("https://www.example.org/?q=1", "UriNotSupported")]
    [InlineData("https://wandb.ai/me/demo", "RunUriInvalid")]
    [InlineData("https://wandb.ai/me/demo/sweeps/x", "RunUriInvalid")]
    [InlineData("https://wandb.ai/me/demo/artifacts/job/x/latest", "UriNotSupported")]
    [InlineData("./no-such-folder", "SourceNotFound")]
    [InlineData("not a url", "SourceNotFound")]
    [InlineData("", "UriInvalid")]
    public void What_is_unsafe_or_something_else_is_refused(string text, string id) =>
        Assert.Equal(id, Assert.Throws<LaunchException>(() => LaunchUri.Parse(text, "/")).ErrorId);

    [Theory]
    [InlineData("../x")]
    [InlineData("a/../../x")]
    [InlineData("/etc/passwd")]
    [InlineData("C:\\x")]
    [InlineData("\\\\server\\x")]
    [InlineData(".git/hooks/x")]
    [InlineData("a/.GIT/config")]
    [InlineData("")]
    public void Paths_that_leave_the_folder_are_refused(string path) =>
        Assert.Equal(
            "PathOutside",
            Assert.Throws<LaunchException>(() => SafePath.Combine("/tmp/x", path, "path")).ErrorId
        );

    [Fact]
    public void Requirements_are_cleaned_pinned_and_refused()
    {
        var folder = Fixture.NewFolder("req");
        File.WriteAllText(
            Path.Combine(folder, "requirements.txt"),
            "\uFEFFNumPy>=1.0 ; python_version > '3'  # comment\n-r more.txt\nextra[a,b]\n--index-url https://x/simple\n-e git+https://github.com/u/r.git@v1#egg=r\n-e .\n./local.whl\nhashed==1 --hash=sha256:ab \\\n  --hash=sha256:cd\n"
        );
        File.WriteAllText(Path.Combine(folder, "more.txt"), "torch\n");
        var set = RequirementSet.Create("numpy==1.26.4\ntorch==2.0\nextra==5\nother==9\nhashed==7\n", folder);
        Assert.Equal(
            [
                "NumPy==1.26.4 ; python_version > '3'",
                "torch==2.0",
                "extra[a,b]==5",
                "--index-url https://x/simple",
                "git+https://github.com/u/r.git@v1#egg=r",
                "hashed==1 --hash=sha256:ab   --hash=sha256:cd",
            ],
            set.Lines
        );
        Assert.False(set.Frozen);
        Assert.Equal(2, set.Warnings.Count);
        Assert.Equal(["a==1", "wandb"], RequirementSet.Create("a==1\nwandb==0.12.22.dev1\n", null).Lines);
        foreach (
            var line in new[]
            {
                "git+ext::sh -c id",
                "git+file:///etc",
                "x @ git+http://h/r",
                "git+https://-oProxy/x",
                "--install-option=x",
                "-r ../../etc/passwd",
            }
        )
        {
            File.WriteAllText(Path.Combine(folder, "requirements.txt"), line);
            Assert.Contains(
                Assert.Throws<LaunchException>(() => RequirementSet.Create(null, folder)).ErrorId,
                new[] { "RequirementRefused", "PathOutside" }
            );
        }
    }

    [Fact]
    public void Docker_arguments_are_a_typed_list()
    {
        var container = new Docker.DotNet.Models.CreateContainerParameters { HostConfig = new(), Env = [] };
        DockerArguments.Apply(
            container,
            (JsonObject)
                JsonNode.Parse(
                    """{"cpus": 1.5, "m": "2g", "shm_size": "64m", "--env": ["A=1", "B=2"], "gpus": "device=0,1", "ulimit": ["nofile=10:20"], "w": "/x"}"""
                )!
        );
        Assert.Equal(
            (1_500_000_000, 2L << 30, 64L << 20, "/x"),
            (
                container.HostConfig.NanoCPUs,
                container.HostConfig.Memory,
                container.HostConfig.ShmSize,
                container.WorkingDir
            )
        );
        Assert.Equal(["A=1", "B=2"], container.Env);
        Assert.Equal(["0", "1"], container.HostConfig.DeviceRequests[0].DeviceIDs);
        foreach (
            var refused in new[]
            {
                "privileged",
                "volume",
                "v",
                "network",
                "device",
                "cap-add",
                "pid",
                "security-opt",
                "userns",
                "mount",
            }
        )
        {
            Assert.Equal(
                "DockerArgumentRefused",
                Assert.Throws<LaunchException>(() => DockerArguments.Check(new JsonObject { [refused] = "x" })).ErrorId
            );
        }

        foreach (
            var (name, value) in new[]
            {
                ("memory", "lots"),
                ("cpus", "-1"),
                ("workdir", "x"),
                ("gpus", "--all"),
                ("ulimit", "x"),
                ("name", "a b"),
                ("env", "=x"),
            }
        )
        {
            Assert.Equal(
                "DockerArgumentInvalid",
                Assert.Throws<LaunchException>(() => DockerArguments.Check(new JsonObject { [name] = value })).ErrorId
            );
        }

        Assert.Throws<LaunchException>(() => DockerArguments.Check(new JsonObject { ["memory"] = true }));
    }

    [Fact]
    public void The_dockerfile_follows_python_gpu_and_the_base_image()
    {
        string Base(string? image, string? python, bool gpu = false, string? cuda = null) =>
            EngineImageBuilder.Plan(image, python, gpu, cuda, 1000, RequirementSet.None, []).BaseImage;
        Assert.Equal("python:3.9-buster", Base(null, "3.9.2"));
        Assert.Equal("python:3.12-bookworm", Base(null, "3.12"));
        Assert.Equal("nvidia/cuda:11.8-runtime", Base(null, "3.9", true, "11.8"));
        Assert.Equal("nvidia/cuda:10.0-runtime", Base(null, "3.9", true));
        Assert.Equal("mine:1", Base("mine:1", "3.9", true));
        var text = EngineImageBuilder.Dockerfile(
            EngineImageBuilder.Plan("b", "3.9", false, null, 4321, RequirementSet.None, ["git"])
        );
        Assert.Contains("USER 4321", text, StringComparison.Ordinal);
        Assert.Contains("apt-get install -y --no-install-recommends git", text, StringComparison.Ordinal);
        Assert.Throws<LaunchException>(() => Base("a b", "3.9"));
        Assert.Throws<LaunchException>(() => Base(null, "3.9; rm"));
        Assert.Throws<LaunchException>(() =>
            EngineImageBuilder.Plan("b", "3.9", false, null, 1, RequirementSet.None, ["git; id"])
        );
    }

    [Fact]
    public void What_is_not_read_is_written_where_it_was()
    {
        string Written(string config, string? author = null, string? queueEntity = null)
        {
            using var stream = new MemoryStream();
            using (var writer = new System.Text.Json.Utf8JsonWriter(stream))
            {
                LaunchConfig.FromText(config, "test").Write(writer, author, queueEntity);
            }

            return System.Text.Encoding.UTF8.GetString(stream.ToArray());
        }

        Assert.Equal(
            """{"uri":"u","docker":{"user_id":5,"odd":[1,null]},"git":{"x":{"y":1}},"overrides":{"args":["a",""],"z":2},"new":null}""",
            Written(
                """{"new": null, "docker": {"odd": [1, null], "user_id": 5}, "git": {"x": {"y": 1}}, "uri": "u", "overrides": {"z": 2, "args": ["a", ""]}}"""
            )
        );
        Assert.Equal(
            """{"uri":"u","author":"me","queue_entity":"team"}""",
            Written("""{"uri": "u", "author": null, "queue_entity": "other"}""", "me", "team")
        );
        Assert.Equal(
            """{"uri":"u","author":"you","queue_entity":"other"}""",
            Written("""{"uri": "u", "author": "you", "queue_entity": "other"}""", "me")
        );
    }

    private const string EveryKey = """
        {
          "uri":"u","entity":"e","project":"p","name":"n","resource":"local-container","resource_args":{"local-container":{"memory":"1g"}},
          "docker":{"docker_image":"i","user_id":7,"args":{"cpus":2},"base_image":"b","python_version":"3.9","cuda_version":"11.0","system_packages":["git"],"build_image":false,"d":1},
          "git":{"version":"v","repo":"r","g":2},
          "overrides":{"args":{"lr":1},"run_config":{"a":1},"artifacts":{"s":{"name":"x"}},"entry_point":["python","t.py"],"dockerfile":"D","working_dir":"w","files":{"f":{"x":1}},"o":3},
          "cuda":false,"run_id":"abc","sweep_id":"sw","template_variables":{"t":1},"build":{"type":"docker"},"builder":{"type":"noop"},"registry":{"url":"x"},"job_name":"j","python_version":"3.8","image_uri":"other","additional_services":[{"config":{}}],"_resume_count":2,"_wandb_api_key":"0123456789abcdef0123456789abcdef01234567","author":"ann","queue_entity":"team","unknown":[1,{"k":null}]
        }
        """;

    [Fact]
    public void Every_key_of_both_generations_is_read_written_in_its_place_and_merged()
    {
        var all = LaunchConfig.FromText(EveryKey, "test");
        var written = System.Text.RegularExpressions.Regex.Replace(EveryKey, @"\n\s*", "");
        Assert.Equal(written, all.ToJson().ToJsonString());
        Assert.Equal(
            ("sw", 2, "ann", "team", "D", "w"),
            (
                all.SweepId,
                all.ResumeCount,
                all.Author,
                all.QueueEntity,
                all.Overrides!.Dockerfile,
                all.Overrides.WorkingDir
            )
        );

        // Whatever is laid over or under it, what the other one does not set stays.
        var name = new LaunchConfig { Name = "n" };
        Assert.Equal(written, all.Merge(name).ToJson().ToJsonString());
        Assert.Equal(written, name.Merge(all).ToJson().ToJsonString());
        Assert.Equal(written, all.Merge(all).ToJson().ToJsonString());
    }

    [Fact]
    public void A_key_of_a_server_is_never_shown()
    {
        var config = LaunchConfig.FromText(EveryKey, "test");
        const string Key = "0123456789abcdef0123456789abcdef01234567";
        Assert.Equal(Key, config.ApiKey!.Value);
        Assert.DoesNotContain(Key, config.ToString(), StringComparison.Ordinal);
        Assert.DoesNotContain(Key, config.ApiKey.ToString(), StringComparison.Ordinal);
        var error = Assert.Throws<LaunchException>(() =>
            LaunchConfig.FromText($$"""{"_wandb_api_key": ["{{Key}}"]}""", "test")
        );
        Assert.DoesNotContain(Key, error.Message + error.Target, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("""{"uri":{}}""", "'uri' must be a string.")]
    [InlineData("""{"sweep_id":["a"]}""", "'sweep_id' must be a string.")]
    [InlineData("""{"_wandb_api_key":{}}""", "'_wandb_api_key' must be a string.")]
    [InlineData("""{"docker":[1]}""", "'docker' must be an object.")]
    [InlineData("""{"docker":{"user_id":-1}}""", "'user_id' must be a whole number of 0 or more.")]
    [InlineData("""{"docker":{"user_id":1.5}}""", "'user_id' must be a whole number of 0 or more.")]
    [InlineData("""{"docker":{"system_packages":{"a":1}}}""", "'system_packages' must be a list of strings.")]
    [InlineData("""{"overrides":"x"}""", "'overrides' must be an object.")]
    [InlineData("""{"overrides":{"files":[]}}""", "'files' must be an object.")]
    [InlineData("""{"overrides":{"run_config":3}}""", "'run_config' must be an object.")]
    [InlineData("""{"cuda":"perhaps"}""", "'cuda' must be true or false.")]
    [InlineData("""{"cuda":[true]}""", "'cuda' must be true or false.")]
    [InlineData("""{"_resume_count":"often"}""", "'_resume_count' must be a whole number of 0 or more.")]
    [InlineData("""{"resource_args":[]}""", "'resource_args' must be an object.")]
    [InlineData("""{"template_variables":7}""", "'template_variables' must be an object.")]
    [InlineData("""{"additional_services":{"a":1}}""", "'additional_services' must be a list.")]
    [InlineData(
        """{"run_id":{},"docker":{"user_id":[],"x":1},"git":"v","entity":[]}""",
        "'run_id' must be a string, 'user_id' must be a whole number of 0 or more, 'git' must be an object, 'entity' must be a string."
    )]
    public void A_value_of_another_kind_is_named(string text, string says)
    {
        var error = Assert.Throws<LaunchException>(() => LaunchConfig.FromText(text, "test"));
        Assert.Equal("ConfigInvalid", error.ErrorId);
        Assert.Equal("The launch config key " + says, error.Message);

        // Who only looks at an item takes what is left.
        var rest = (JsonObject)JsonNode.Parse(text)!;
        rest["name"] = "n";
        var read = LaunchConfig.Tolerant(rest);
        Assert.Equal(("n", null, null, null), (read.Name, read.RunId, read.UserId, read.Cuda));
    }

    [Fact]
    public void Values_are_taken_as_pythons_readers_take_them()
    {
        var config = LaunchConfig.FromText(
            """{"name": 7, "entity": "", "run_id": true, "cuda": "True", "docker": {"user_id": "5"}, "resource_args": {}, "git": {}, "overrides": {"entry_point": "python 'a b.py'", "args": []}, "image_uri": "i", "python_version": 3.10}""",
            "test"
        );
        Assert.Equal(
            """{"name":"7","docker":{"docker_image":"i","user_id":5,"python_version":"3.10"},"overrides":{"entry_point":["python","a b.py"]},"cuda":true,"run_id":"true"}""",
            config.ToJson().ToJsonString()
        );
        Assert.Equal(
            "ArgumentsInvalid",
            Assert.Throws<LaunchException>(() => LaunchConfig.FromText("""{"overrides":{"args":5}}""", "test")).ErrorId
        );
    }
}
