using System.Diagnostics;
using System.Net;
using System.Net.Sockets;
using System.Text.Json.Nodes;
using WandbLaunch.Agents;
using WandbLaunch.Foundation;
using WandbLaunch.Wandb;

namespace WandbLaunch.Tests;

/// <summary>Servers that send the key elsewhere, that fail or say nothing; and environments that name another one.</summary>
[Collection(ProcessCollection.Name)]
public sealed class HostileConnectionTests : IDisposable
{
    private const string Key = "0123456789abcdef0123456789abcdef01234567";

    private readonly HttpServer _asked = new();
    private readonly HttpServer _other = new();

    public void Dispose()
    {
        _asked.Dispose();
        _other.Dispose();
    }

    private GraphQLTransport Transport(params (string Name, string Value)[] headers) =>
        new(
            new WandbSettings
            {
                BaseUrl = _asked.Url,
                ApiKey = Key,
                Username = "the-user",
                ExtraHeaders = headers.ToDictionary(h => h.Name, h => h.Value),
            },
            0
        );

    private static void Redirect(HttpListenerContext context, int status, string target)
    {
        context.Response.StatusCode = status;
        context.Response.AddHeader("Location", target);
        context.Response.Close();
    }

    [Theory]
    [InlineData(301)]
    [InlineData(302)]
    [InlineData(303)]
    [InlineData(307)]
    [InlineData(308)]
    public async Task An_API_that_redirects_does_not_send_key_or_request_elsewhere(int status)
    {
        _asked.Answer = context => Redirect(context, status, _other.Url + "/graphql");
        using var transport = Transport(("X-Gate", "gate-secret"));
        var error = await Assert.ThrowsAsync<LaunchException>(() =>
            transport.QueryAsync("Viewer", "{ viewer { entity } }", null, TestContext.Current.CancellationToken)
        );
        Assert.Equal("ServerRedirects", error.ErrorId);
        Assert.Contains(_other.Url, error.Message, StringComparison.Ordinal);
        Assert.Equal(
            "ServerRedirects",
            (
                await Assert.ThrowsAsync<LaunchException>(() =>
                    transport.PostAsync("/files/a/b/c/file_stream", new { }, TestContext.Current.CancellationToken)
                )
            ).ErrorId
        );
        Assert.All(_asked.Requests, r => Assert.Equal("api:" + Key, r.Login));
        Assert.Empty(_other.Requests);
    }

    [Fact]
    public async Task A_file_may_be_elsewhere_and_gets_neither_key_nor_headers()
    {
        _asked.Answer = context => Redirect(context, 302, _other.Url + "/bucket/file?X-Signature=abc");
        _other.Answer = context =>
        {
            context.Response.OutputStream.Write("content"u8);
            context.Response.Close();
        };
        using var transport = Transport(("X-Gate", "gate-secret"));
        using (var answer = await transport.Files.DownloadAsync("/files/x", TestContext.Current.CancellationToken))
        {
            Assert.Equal("content", await answer.Content.ReadAsStringAsync(TestContext.Current.CancellationToken));
        }

        using (await transport.Files.DownloadAsync(_other.Url + "/direct", TestContext.Current.CancellationToken)) { }
        await transport.Files.UploadAsync(
            _other.Url + "/put",
            () => new MemoryStream([1]),
            ["X-Storage:yes"],
            TestContext.Current.CancellationToken
        );
        Assert.Equal("user:" + Key, Assert.Single(_asked.Requests).Login);
        Assert.Contains("gate-secret", _asked.Requests.Single().Headers, StringComparison.Ordinal);
        Assert.Equal(3, _other.Requests.Count);
        Assert.All(
            _other.Requests,
            r =>
            {
                Assert.Null(r.Authorization);
                Assert.DoesNotContain("gate-secret", r.Headers, StringComparison.Ordinal);
                Assert.DoesNotContain("the-user", r.Headers, StringComparison.Ordinal);
                Assert.DoesNotContain(Key, r.Headers + r.Path, StringComparison.Ordinal);
            }
        );
    }

    [Theory]
    [InlineData("file:///etc/passwd")]
    [InlineData("ftp://127.0.0.1/x")]
    public async Task A_file_is_not_fetched_from_another_scheme(string target)
    {
        _asked.Answer = context => Redirect(context, 302, target);
        using var transport = Transport();
        Assert.Equal(
            "ServerRedirects",
            (
                await Assert.ThrowsAsync<LaunchException>(() =>
                    transport.Files.DownloadAsync("/files/x", TestContext.Current.CancellationToken)
                )
            ).ErrorId
        );
    }

    [Fact]
    public async Task A_webhook_is_not_redirected()
    {
        _asked.Answer = context => Redirect(context, 307, _other.Url + "/hook");
        var faults = new List<string>();
        await using (var hook = new AgentWebhook(_asked.Url + "/hook", faults.Add))
        {
            hook.Post(
                new AgentEvent
                {
                    Time = DateTimeOffset.UtcNow,
                    Kind = AgentEventKind.Draining,
                    Agent = "a",
                }
            );
        }

        Assert.NotEmpty(_asked.Requests);
        Assert.Empty(_other.Requests);
    }

    [Theory]
    [InlineData("500")]
    [InlineData("reset")]
    [InlineData("silent")]
    [InlineData("slowHeaders")]
    [InlineData("accept")]
    public async Task Ctrl_C_ends_a_connect_at_once_whatever_the_server_does(string kind)
    {
        using var dead = new TcpListener(IPAddress.Loopback, 0);
        var url = Start(kind, dead);
        using var shell = new Shell(connect: false);
        using var pipeline = shell.New($"Connect-Wandb {url} -ApiKey $key");
        pipeline.Runspace.SessionStateProxy.SetVariable("key", Shell.Secure(Key));
        var running = pipeline.BeginInvoke();
        await Task.Delay(1500, TestContext.Current.CancellationToken);

        // A reset is an error at once; everything else would go on for a while.
        Assert.True(kind == "reset" || !running.IsCompleted);
        var clock = Stopwatch.StartNew();
        pipeline.Stop();
        Assert.True(clock.Elapsed < TimeSpan.FromSeconds(20), clock.Elapsed.ToString());
    }

    private string Start(string kind, TcpListener dead)
    {
        switch (kind)
        {
            case "500":
                _asked.Answer = context =>
                {
                    context.Response.StatusCode = 500;
                    context.Response.Close();
                };
                return _asked.Url;
            case "silent":
                _asked.Answer = _ => { };
                return _asked.Url;
            default:
                dead.Start();
                _ = Task.Run(async () =>
                {
                    while (kind != "accept")
                    {
                        var client = await dead.AcceptTcpClientAsync();
                        if (kind == "reset")
                        {
                            client.Client.LingerState = new LingerOption(true, 0);
                            client.Close();
                        }
                        else
                        {
                            await client.GetStream().WriteAsync("HTTP/1.1 200 OK\r\nContent-Ty"u8.ToArray());
                        }
                    }
                });
                return $"http://127.0.0.1:{((IPEndPoint)dead.LocalEndpoint).Port}";
        }
    }

    [Fact]
    public void A_server_that_fails_is_said_at_the_second_try_and_given_up_in_tens_of_seconds()
    {
        _asked.Answer = context =>
        {
            context.Response.StatusCode = 500;
            context.Response.Close();
        };
        using var shell = new Shell(connect: false);
        var clock = Stopwatch.StartNew();
        var error = shell.Fails(
            $"$WarningPreference = 'Continue'; $script:at = [datetime]::UtcNow; Connect-Wandb {_asked.Url} -ApiKey $key -WarningVariable w; $global:said = $w",
            "ServerError",
            ("key", Shell.Secure(Key))
        );
        Assert.InRange(clock.Elapsed.TotalSeconds, 15, 50);
        Assert.Contains("500", error.ToString(), StringComparison.Ordinal);
        var said = string.Join("\n", shell.Run("$global:said | ForEach-Object Message"));
        Assert.Contains("HTTP 500", said, StringComparison.Ordinal);
        Assert.Contains("Ctrl+C", said, StringComparison.Ordinal);
        Assert.True(_asked.Requests.Count >= 4);
    }

    [Fact]
    public async Task Work_that_nobody_waits_for_is_patient()
    {
        // An agent: no ambient patience, so the pauses and tries are those of the reference.
        var n = 0;
        _asked.Answer = context =>
        {
            context.Response.StatusCode = ++n < 3 ? 500 : 200;
            if (n >= 3)
            {
                context.Response.OutputStream.Write("""{"data":{"viewer":null}}"""u8);
            }

            context.Response.Close();
        };
        Assert.Null(ServerPatience.Current);
        using var transport = new GraphQLTransport(new WandbSettings { BaseUrl = _asked.Url, ApiKey = Key });
        var told = new List<string>();
        transport.OnRetry = told.Add;
        await transport.QueryAsync("Viewer", "{ viewer { entity } }", null, TestContext.Current.CancellationToken);
        Assert.Equal(3, n);
        Assert.Equal(2, told.Count);
    }

    public static TheoryData<string> Commands =>
        [
            "Get-WandbConnection -Test",
            "Get-WandbRun -Project nothing",
            "Get-WandbRunFile local/sdk/22stxuh9",
            "Get-WandbLaunchJob -Project nothing",
            "New-WandbLaunchJob -DockerImage a:1 -Project nothing",
            "Get-WandbRunQueue",
            "New-WandbRunQueue chosen-queue",
            "Set-WandbRunQueue chosen-queue -PrioritizationMode V0",
            "Remove-WandbRunQueue chosen-queue -Confirm:$false",
            "Get-WandbLaunchQueueItem",
            "Wait-WandbLaunchQueueItem default 1 -Timeout 1",
            "Remove-WandbLaunchQueueItem default 1 -Confirm:$false",
            "Add-WandbLaunchQueueItem -DockerImage a:1 -Project nothing",
            "Start-WandbLaunch -DockerImage a:1 -Queue default -Project nothing",
            "Get-WandbLaunchAgent",
            "if (-not (Get-WandbRunQueue chosen-idle -ErrorAction Ignore)) { $null = New-WandbRunQueue chosen-idle }; Start-WandbLaunchAgent -Queue chosen-idle -StopWhenEmpty -AllowResource local-process",
            "Register-WandbLaunchAgent -Name chosen -WhatIf",
            "Start-WandbLaunch https://wandb.invalid/local/sdk/runs/22stxuh9 -WhatIf",
            "Start-WandbLaunch local/sdk/runs/22stxuh9 -WhatIf -Resource local-process",
            "Import-WandbRun $offline -Project chosen-import",
            "Receive-WandbLaunchLog nothing",
            "(TabExpansion2 'Get-WandbRunQueue d' 19).CompletionMatches.Count",
            "(TabExpansion2 'Get-WandbRun -Project s' 23).CompletionMatches.Count",
        ];

    [Theory]
    [MemberData(nameof(Commands))]
    public void The_connection_that_was_chosen_wins_over_the_environment_in_every_command(string command)
    {
        using var wrong = Variables(
            ("WANDB_BASE_URL", _other.Url),
            ("WANDB_API_KEY", Key),
            ("WANDB_ENTITY", "wrong-entity"),
            ("WANDB_PROJECT", "wrong-project")
        );
        using var shell = new Shell(connect: false);
        shell.Ok(
            $"$null = Connect-Wandb {Fixture.Server.Url} -ApiKey $key -Entity local -Project sdk; $global:offline = $at",
            ("key", Shell.Secure(Fixture.Key)),
            ("at", Fixture.OfflineRun)
        );
        shell.Run(command);
        Assert.Empty(_other.Requests);
        Assert.DoesNotContain(
            shell.Errors,
            e =>
                e.ToString().Contains("wrong-", StringComparison.Ordinal)
                || e.ToString().Contains(_other.Url, StringComparison.Ordinal)
        );
        Assert.Equal(Fixture.Server.Url, shell.Ok("Get-WandbConnection").Single().Properties["BaseUrl"].Value);
    }

    [Fact]
    public void A_registered_agent_is_the_chosen_connections()
    {
        using var wrong = Variables(
            ("WANDB_BASE_URL", _other.Url),
            ("WANDB_ENTITY", "wrong-entity"),
            ("WANDB_PROJECT", "wrong-project")
        );
        using var shell = new Shell(connect: false);
        shell.Ok(
            $"$null = Connect-Wandb {Fixture.Server.Url} -ApiKey $key -Entity local -Project sdk",
            ("key", Shell.Secure(Fixture.Key))
        );
        var content = shell.Ok("(Register-WandbLaunchAgent -Name chosen -WhatIf).ConfigContent").Single().ToString();
        Assert.Contains(Fixture.Server.Url, content, StringComparison.Ordinal);
        Assert.DoesNotContain(_other.Url, content, StringComparison.Ordinal);
        Assert.DoesNotContain("wrong-", content, StringComparison.Ordinal);
    }

    [Fact]
    public void A_file_of_an_agent_names_neither_server_nor_key_against_the_chosen_connection()
    {
        var file = Path.Combine(Fixture.NewFolder("agent"), "launch-config.yaml");
        File.WriteAllText(file, $"base_url: {_other.Url}\napi_key: {Key}\nentity: team\nmax_jobs: 3\n");
        var chosen = new WandbSettings { BaseUrl = "http://127.0.0.1:1", Entity = "own" };
        var config = AgentConfig.Resolve(new LaunchEnvironment(), file, [], chosen);
        Assert.Equal(("http://127.0.0.1:1", null, "team"), (config.BaseUrl, config.ApiKey, config.Entity));
        config = AgentConfig.Resolve(
            new LaunchEnvironment(),
            file,
            [],
            chosen with
            {
                EntitySource = SettingSource.Parameter,
                LocalServerPath = "/srv/wandb.db",
            }
        );
        Assert.Equal((null, "/srv/wandb.db", "own"), (config.BaseUrl, config.LocalServer, config.Entity));
        config = AgentConfig.Resolve(new LaunchEnvironment(), file, new JsonObject { ["entity"] = "given" }, chosen);
        Assert.Equal("given", config.Entity);
    }

    public static TheoryData<string> SecretUris =>
        [
            "https://me:pass-w0rd@github.com/a/b",
            "https://pass-w0rd@github.com/a/b",
            "https://me:pass-w0rd@github.com/a/b@main#sub",
            "https://x-access-token:pass-w0rd@github.com/a/b.git",
            "ssh://me:pass-w0rd@github.com/a/b",
            "https://dev.azure.com/a/_git/b?access_token=pass-w0rd",
            "https://dev.azure.com/a/_git/b?private-token=pass-w0rd",
        ];

    [Theory]
    [MemberData(nameof(SecretUris))]
    public void A_login_in_a_git_address_is_not_queued_on_any_road(string uri)
    {
        using var shell = new Shell();
        var queue = "secret" + Guid.NewGuid().ToString("n")[..6];
        shell.Ok($"$null = New-WandbRunQueue {queue}");
        var file = Path.Combine(Fixture.NewFolder("secret"), "config.json");
        File.WriteAllText(file, new JsonObject { ["uri"] = uri }.ToJsonString());
        foreach (
            var command in new[]
            {
                $"Add-WandbLaunchQueueItem '{uri}' -Queue {queue}",
                $"'{uri}' | Add-WandbLaunchQueueItem -Queue {queue}",
                $"Add-WandbLaunchQueueItem https://github.com/a/b -GitRepo '{uri}' -Queue {queue}",
                $"Add-WandbLaunchQueueItem -Config '{file}' -Queue {queue}",
                $"Add-WandbLaunchQueueItem -Config @{{ uri = 'https://github.com/a/b'; git = @{{ remote = '{uri}' }} }} -AllowUnknownKey -Queue {queue}",
                $"Start-WandbLaunch '{uri}' -Queue {queue}",
            }
        )
        {
            var error = shell.Fails(command, "LoginInQueuedUri");
            Assert.DoesNotContain("pass-w0rd", error + error.TargetObject?.ToString(), StringComparison.Ordinal);
            Assert.Contains("ssh", error.ToString(), StringComparison.Ordinal);
        }

        // That one alone: the others of the pipeline go.
        shell.Run(
            $"'https://github.com/a/b', '{uri}', 'https://github.com/a/c' | Add-WandbLaunchQueueItem -Queue {queue}"
        );
        Assert.Single(shell.Errors);
        Assert.Equal(2, shell.Ok($"Get-WandbLaunchQueueItem {queue}").Count);
    }

    [Fact]
    public void An_older_item_is_masked_wherever_it_is_shown_and_stays_what_it_is_else()
    {
        var spec = new JsonObject
        {
            ["uri"] = "https://me:pass-w0rd@github.com/a/b",
            ["git"] = new JsonObject { ["repo"] = "https://t0ken-pass-w0rd@github.com/a/b" },
            ["overrides"] = new JsonObject
            {
                ["args"] = new JsonArray("--data=https://h/x?access_token=pass-w0rd&y=1", "ssh://git@host/keep", "a@b"),
                ["run_config"] = new JsonObject
                {
                    ["https://me:pass-w0rd@host/"] = new JsonArray("x", "z://u:pass-w0rd@h"),
                },
            },
        };
        var item = new WandbLaunchQueueItem
        {
            Id = "1",
            Queue = "q",
            Entity = "e",
            QueueProject = "p",
            State = QueueItemState.Failed,
            Uri = spec["uri"]!.ToString(),
            Error = "cannot fetch https://me:pass-w0rd@github.com/a/b: 404",
            Warning = ["see https://me:pass-w0rd@github.com/a/b"],
            SpecText = spec.ToJsonString(GraphQLTransport.PlainJson),
        };
        using var shell = new Shell(connect: false);
        var shown = string.Join(
            "\n",
            shell
                .Ok(
                    "\"$item\"; $item.psobject.Properties | ForEach-Object { \"$($_.Name): $($_.Value -join ', ')\" }",
                    ("item", item)
                )
                .Append(System.Text.Json.JsonSerializer.Serialize(item, GraphQLTransport.PlainJson))
        );
        Assert.DoesNotContain("pass-w0rd", shown, StringComparison.Ordinal);
        Assert.Contains("ssh://git@host/keep", shown, StringComparison.Ordinal);
        Assert.Contains("y=1", shown, StringComparison.Ordinal);
        Assert.Equal("https://***@github.com/a/b", item.Uri);
        Assert.NotNull(JsonNode.Parse(item.Config!));
        Assert.Equal(spec["uri"]!.ToString(), item.Spec!["uri"]!.ToString());
    }

    [Theory]
    [InlineData("https://u:p@ss@host/x", "https://***@host/x")]
    [InlineData("git clone https://u:p@h/x and ssh://git@h/y", "git clone https://***@h/x and ssh://git@h/y")]
    [InlineData("https://git@github.com/a/b", "https://git@github.com/a/b")]
    [InlineData("https://h/x?sig=abc&se=1", "https://h/x?sig=***&se=1")]
    [InlineData("a@b.c https://h/x", "a@b.c https://h/x")]
    public void Only_logins_are_masked(string text, string masked) => Assert.Equal(masked, Secrets.MaskLogins(text));

    private static Restore Variables(params (string Name, string Value)[] variables)
    {
        var before = variables.Select(v => (v.Name, Environment.GetEnvironmentVariable(v.Name))).ToArray();
        foreach (var (name, value) in variables)
        {
            Environment.SetEnvironmentVariable(name, value);
        }

        return new Restore(() =>
        {
            foreach (var (name, value) in before)
            {
                Environment.SetEnvironmentVariable(name, value);
            }
        });
    }

    private sealed class Restore(Action action) : IDisposable
    {
        public void Dispose() => action();
    }
}
