using System.Collections.Concurrent;
using System.Management.Automation;
using System.Net.Http.Headers;
using System.Text;
using System.Text.Json.Nodes;
using WandbLaunch.Foundation;
using WandbLaunch.Server;
using WandbLaunch.Wandb;

namespace WandbLaunch.Tests;

/// <summary>Queues over real HTTP, against a server of today's protocol and one of 2022.</summary>
[Collection(SessionCollection.Name)]
public sealed class QueueTests
{
    private const string Train = "https://github.com/me/train";

    private static WandbLaunchQueueItem Item(PSObject o) => (WandbLaunchQueueItem)o.BaseObject;

    private static string NewQueue(Shell shell, string more = "")
    {
        var name = "q-" + Guid.NewGuid().ToString("n")[..8];
        shell.Ok($"$null = New-WandbRunQueue {name} {more}");
        return name;
    }

    private static async Task<LaunchServer> StartServerAsync(
        bool generation2022 = false,
        string? path = null,
        TimeSpan? lease = null
    ) =>
        await LaunchServer.StartAsync(
            path ?? Path.Combine(Fixture.NewFolder("queue-server"), "wandb.db"),
            "127.0.0.1",
            0,
            Fixture.Key,
            generation2022,
            lease
        );

    private static Task<WandbConnection> ConnectAsync(LaunchServer server) =>
        WandbConnection.OpenAsync(
            WandbSettings.Resolve(new LaunchEnvironment(), Fixture.Root, server.Url, Fixture.Key),
            null,
            default
        );

    [Fact]
    public void Runs_flow_into_a_queue_and_out_again()
    {
        using var shell = new Shell();
        var queue = NewQueue(shell);
        var items = shell
            .Ok(
                $"Get-WandbRun -Project demo | Add-WandbLaunchQueueItem -Queue {queue} -Argument @{{ lr = 0.1 }} -Resource local-process"
            )
            .Select(Item)
            .ToList();
        var item = Assert.Single(items);
        Assert.Equal(
            (QueueItemState.Pending, queue, "local", "demo", "lr=0.1"),
            (item.State, item.Queue, item.Entity, item.Project, Assert.Single(item.Arguments))
        );
        Assert.Equal($"{Fixture.Server.Url}/local/demo/runs/22stxuh9", item.Uri);
        var listed = Item(Assert.Single(shell.Ok($"Get-WandbLaunchQueueItem {queue}")));
        Assert.Equal((item.Id, 1, item.Uri), (listed.Id, listed.Position, listed.Uri));
        Assert.Equal("local", listed.Spec!["author"]!.ToString());
        var again = Item(
            Assert.Single(
                shell.Ok($"Get-WandbLaunchQueueItem {queue} | Add-WandbLaunchQueueItem -Queue {queue} -Argument lr=0.2")
            )
        );
        Assert.Equal("lr=0.2", Assert.Single(again.Arguments));
        Assert.Equal(2, ((WandbRunQueue)Assert.Single(shell.Ok($"Get-WandbRunQueue {queue}")).BaseObject).Pending);
        Assert.Empty(
            shell.Ok(
                $"Get-WandbLaunchQueueItem {queue} | Remove-WandbLaunchQueueItem -Confirm:$false; Get-WandbLaunchQueueItem {queue}"
            )
        );
        shell.Fails($"Remove-WandbLaunchQueueItem {queue} {item.Id} -Confirm:$false", "ItemNotFound");
        Assert.Empty(
            shell.Ok($"Add-WandbLaunchQueueItem {Train} -Queue {queue} -WhatIf; Get-WandbLaunchQueueItem {queue}")
        );
    }

    [Fact]
    public void Tables_and_grids_become_arguments()
    {
        using var shell = new Shell();
        var queue = NewQueue(shell);
        var rows = shell
            .Ok(
                $"[pscustomobject]@{{ lr = '0.1'; name = 'a b' }}, [pscustomobject]@{{ lr = '0.2'; name = 'c' }} | Add-WandbLaunchQueueItem -Uri {Train} -Queue {queue}"
            )
            .Select(Item)
            .ToList();
        Assert.Equal(["lr=0.1 name=a b", "lr=0.2 name=c"], rows.Select(r => string.Join(' ', r.Arguments)));
        Assert.All(rows, r => Assert.Equal("train", r.Project));
        var grid = shell
            .Ok(
                $"Add-WandbLaunchQueueItem {Train} -Queue {queue} -Argument @{{ seed = 1 }} -Grid @{{ lr = 1e-3, 1e-4; layers = 2, 4; opt = 'sgd' }}"
            )
            .Select(i => string.Join(' ', Item(i).Arguments))
            .ToList();
        Assert.Equal(
            [
                "seed=1 layers=2 lr=0.001 opt=sgd",
                "seed=1 layers=2 lr=0.0001 opt=sgd",
                "seed=1 layers=4 lr=0.001 opt=sgd",
                "seed=1 layers=4 lr=0.0001 opt=sgd",
            ],
            grid
        );
        shell.Fails($"Add-WandbLaunchQueueItem {Train} -Queue {queue} -Grid @{{ lr = @() }}", "GridEmpty");
        Assert.Equal(
            ["lr=NaN", "lr=-Infinity"],
            shell
                .Ok(
                    $"Add-WandbLaunchQueueItem {Train} -Queue {queue} -Grid @{{ lr = [double]::NaN, [single]::NegativeInfinity }}"
                )
                .Select(i => Item(i).Arguments[0])
        );

        // A config from the pipeline stays a config beside other parameters.
        var config = Item(
            Assert.Single(
                shell.Ok(
                    $"New-WandbLaunchConfig {Train} -Argument lr=1 | Add-WandbLaunchQueueItem -Queue {queue} -Name one"
                )
            )
        );
        Assert.Equal(
            ("--lr 1", "one"),
            (
                string.Join(' ', config.Arguments).Replace("lr=1", "--lr 1", StringComparison.Ordinal),
                config.Spec!["name"]!.ToString()
            )
        );
    }

    [Fact]
    public void One_bad_item_fails_alone_and_the_order_stays()
    {
        using var shell = new Shell();
        var queue = NewQueue(shell);
        var before = Fixture.Server;
        var result = shell.Run(
            $"1..2000 | ForEach-Object {{ if ($_ % 500 -eq 0) {{ @{{ uri = './train' }} }} else {{ @{{ uri = '{Train}'; overrides = @{{ args = @{{ n = $_ }} }} }} }} }} | Add-WandbLaunchQueueItem -Queue {queue}"
        );
        Assert.Equal(1996, result.Count);
        Assert.Equal(4, shell.Errors.Count);
        Assert.All(
            shell.Errors,
            e => Assert.StartsWith("FolderCannotBeQueued,", e.FullyQualifiedErrorId, StringComparison.Ordinal)
        );
        Assert.Equal(
            Enumerable.Range(1, 2000).Where(n => n % 500 != 0).Select(n => $"n={n}"),
            shell.Ok($"Get-WandbLaunchQueueItem {queue}").Select(i => Item(i).Arguments[0])
        );
        Assert.Same(before, Fixture.Server);
    }

    [Theory]
    [InlineData("5")]
    [InlineData("""{"runSpec": {}}""")]
    [InlineData("[{]")]
    public async Task A_batch_that_is_no_list_is_a_bad_request(string body)
    {
        using var shell = new Shell();
        var (code, answer) = await PushBatchAsync(NewQueue(shell), body);
        Assert.Equal(400, code);
        Assert.Contains("JSON list", answer["error"]!.ToString(), StringComparison.Ordinal);
    }

    [Fact]
    public async Task An_item_of_a_batch_that_is_none_is_refused_alone()
    {
        using var shell = new Shell();
        var queue = NewQueue(shell);
        var (code, answer) = await PushBatchAsync(
            queue,
            """[{"runSpec": {"uri": "a"}}, 5, {}, {"runSpec": "x"}, {"runSpec": {}, "priority": 1.5}, {"runSpec": {}, "templateVariableValues": [1]}, {"runSpec": {"uri": "b"}}]"""
        );
        Assert.Equal(200, code);
        var results = answer["results"]!.AsArray();
        Assert.Equal("NSSSSSN", string.Concat(results.Select(r => r!.GetValueKind().ToString()[0])));
        Assert.Equal(["a", "b"], shell.Ok($"Get-WandbLaunchQueueItem {queue}").Select(i => Item(i).Uri));
    }

    [Theory]
    [InlineData("""[{"runSpec": {"uri": "a"}}, {"runSpec": {"uri": "b"}}]""")]
    [InlineData("""[{"runSpec": {"uri": "a"}}, {"runSpec": {"uri": "c"}, "priority": 7}, {"runSpec": {"uri": "b"}}]""")]
    public async Task A_batch_whose_answer_was_lost_is_not_queued_again(string body)
    {
        using var shell = new Shell();
        var queue = NewQueue(shell);
        var name = "&request=" + Guid.NewGuid().ToString("n");
        var first = await PushBatchAsync(queue + name, body);
        var again = await PushBatchAsync(queue + name, body);
        Assert.Equal(first.Answer.ToJsonString(), again.Answer.ToJsonString());
        Assert.Equal(["a", "b"], shell.Ok($"Get-WandbLaunchQueueItem {queue}").Select(i => Item(i).Uri));
        await PushBatchAsync(queue, body);
        Assert.Equal(4, shell.Ok($"Get-WandbLaunchQueueItem {queue}").Count);
    }

    private static async Task<(int Code, JsonNode Answer)> PushBatchAsync(string queue, string body)
    {
        using var client = new HttpClient();
        client.DefaultRequestHeaders.Authorization = new AuthenticationHeaderValue(
            "Basic",
            Convert.ToBase64String(Encoding.UTF8.GetBytes($"api:{Fixture.Key}"))
        );
        using var response = await client.PostAsync(
            new Uri($"{Fixture.Server.Url}/queues/push?entity=local&project=model-registry&queue={queue}"),
            new StringContent(body, Encoding.UTF8, "application/json")
        );
        return ((int)response.StatusCode, JsonNode.Parse(await response.Content.ReadAsStringAsync())!);
    }

    [Fact]
    public void What_cannot_be_queued_is_said()
    {
        using var shell = new Shell();
        var queue = NewQueue(shell);
        Assert.Contains(
            "git URL",
            shell.Fails($"Add-WandbLaunchQueueItem ./train -Queue {queue}", "FolderCannotBeQueued").ToString(),
            StringComparison.Ordinal
        );
        Assert.Contains(
            "Import-WandbRun",
            shell
                .Fails(
                    $"Add-WandbLaunchQueueItem ./wandb/offline-run-20261124_070622-22stxuh9 -Queue {queue}",
                    "FolderCannotBeQueued"
                )
                .ToString(),
            StringComparison.Ordinal
        );
        Assert.Contains(
            "New-WandbRunQueue nope",
            shell.Fails($"Add-WandbLaunchQueueItem {Train} -Queue nope", "QueueNotFound").ToString(),
            StringComparison.Ordinal
        );
        shell.Fails($"Add-WandbLaunchQueueItem -Queue {queue} -Name x", "SourceMissing");
        shell.Fails($"Add-WandbLaunchQueueItem {Train} -Queue {queue} -Resource moon", "ResourceUnknown");
        shell.Fails($"Add-WandbLaunchQueueItem {Train} -Queue {queue} -Priority high", "ItemRefused");
        shell.Fails("Get-WandbLaunchQueueItem nope", "QueueNotFound");
        shell.Fails($"New-WandbRunQueue {queue}", "QueueExists");
        shell.Fails($"Start-WandbLaunch {Train} -Queue {queue} -NoWait", "NoWaitWithQueue");
        Assert.Equal(
            QueueItemState.Pending,
            Item(Assert.Single(shell.Ok($"Start-WandbLaunch {Train} -Queue {queue}"))).State
        );
    }

    [Fact]
    public void The_default_queue_is_made_by_its_first_item_and_stays()
    {
        using var shell = new Shell();
        shell.Ok($"$null = Add-WandbLaunchQueueItem {Train}");
        shell.Fails("Remove-WandbRunQueue default -Confirm:$false", "DefaultQueueStays");
        shell.Ok("Get-WandbLaunchQueueItem default | Remove-WandbLaunchQueueItem -Confirm:$false");
    }

    [Fact]
    public async Task A_deleted_queue_takes_what_waits_and_not_what_was_started()
    {
        using var shell = new Shell();
        var name = NewQueue(shell);
        shell.Ok($"$null = Add-WandbLaunchQueueItem {Train} -Queue {name} -Grid @{{ n = 1, 2, 3 }}");
        using var connection = await Fixture.ConnectAsync();
        var api = await connection.Api.ProtocolAsync(default);
        var first = (await api.PopAsync("local", "model-registry", name, null, default))!;
        Assert.True(await api.AckAsync(first.Id, "run1", default));
        shell.Ok($"Remove-WandbRunQueue {name} -Confirm:$false");
        shell.Fails($"Get-WandbRunQueue {name}", "QueueNotFound");
        using var database = new Microsoft.Data.Sqlite.SqliteConnection(
            "Data Source=" + Path.Combine(Fixture.Root, "server", "wandb.db")
        );
        database.Open();
        using var command = database.CreateCommand();
        command.CommandText =
            $"SELECT group_concat(i.state) FROM items i JOIN queues q ON q.id = i.queue WHERE q.name = '{name}'";
        Assert.Equal("CLAIMED", command.ExecuteScalar());
    }

    [Fact]
    public void Priorities_template_variables_and_resources_of_a_queue()
    {
        using var shell = new Shell();
        var queue = NewQueue(
            shell,
            "-PrioritizationMode V0 -Access Private -Resource local-container -ResourceArgs @{ memory = '{{memory}}'; cpus = '{{cpus}}' } -TemplateVariable @{ memory = @{ type = 'string'; enum = '4g', '8g'; default = '4g' }; cpus = @{ type = 'integer'; minimum = 1; maximum = 8 } }"
        );
        string Push(string more) =>
            Item(Assert.Single(shell.Ok($"Add-WandbLaunchQueueItem {Train} -Queue {queue} {more}"))).Id;
        var low = Push("-Priority low -TemplateVariable @{ cpus = 1 }");
        var high = Push("-Priority high -TemplateVariable @{ cpus = 2; memory = '8g' }");
        var plain = Push("-TemplateVariable @{ cpus = 3 }");
        var items = shell.Ok($"Get-WandbLaunchQueueItem {queue}").Select(Item).ToDictionary(i => i.Id);
        Assert.Equal((3, 1, 2), (items[low].Position, items[high].Position, items[plain].Position));
        Assert.Equal(
            "{\"local-container\":{\"cpus\":2,\"memory\":\"8g\"}}",
            items[high].Spec!["resource_args"]!.ToJsonString()
        );
        Assert.Equal("4g", items[low].Spec!["resource_args"]!["local-container"]!["memory"]!.ToString());
        Assert.Contains(
            "memory",
            shell
                .Fails(
                    $"Add-WandbLaunchQueueItem {Train} -Queue {queue} -TemplateVariable @{{ cpus = 1; memory = '5g' }}",
                    "ItemRefused"
                )
                .ToString(),
            StringComparison.Ordinal
        );
        shell.Fails(
            $"Add-WandbLaunchQueueItem {Train} -Queue {queue} -TemplateVariable @{{ cpus = 'two' }}",
            "ItemRefused"
        );
        shell.Fails($"Add-WandbLaunchQueueItem {Train} -Queue {queue}", "ItemRefused");
        shell.Fails(
            $"Add-WandbLaunchQueueItem {Train} -Queue {queue} -TemplateVariable @{{ moon = 1 }}",
            "ItemRefused"
        );

        var set = (WandbRunQueue)
            Assert
                .Single(shell.Ok($"Set-WandbRunQueue {queue} -ResourceArgs @{{ memory = '1g' }} -PassThru"))
                .BaseObject;
        Assert.Equal(("local-container", "V0", "USER"), (set.Resource, set.PrioritizationMode, set.Access));
        var next = Push("-TemplateVariable @{ cpus = 1 }");
        Assert.Equal(
            "{\"local-container\":{\"memory\":\"1g\"}}",
            Item(Assert.Single(shell.Ok($"Get-WandbLaunchQueueItem {queue} -Id {next}"))).Spec![
                "resource_args"
            ]!.ToJsonString()
        );
    }

    [Fact]
    public async Task A_server_of_2022_is_spoken_to_in_its_own_words()
    {
        await using var server = await StartServerAsync(true);
        using var shell = new Shell(false);
        shell.Ok($"$null = Connect-Wandb {server.Url} -ApiKey $key -Project train", ("key", Shell.Secure(Fixture.Key)));
        shell.Ok("$null = New-WandbRunQueue old");
        var items = shell
            .Ok(
                $"1..120 | ForEach-Object {{ @{{ uri = '{Train}'; overrides = @{{ args = @{{ n = $_ }} }} }} }} | Add-WandbLaunchQueueItem -Queue old"
            )
            .Select(Item)
            .ToList();
        Assert.Equal((120, "train"), (items.Count, items[0].QueueProject));
        Assert.Equal(
            Enumerable.Range(1, 120),
            items.Select(i => int.Parse(i.Arguments[0][2..], System.Globalization.CultureInfo.InvariantCulture))
        );
        Assert.Equal(120, shell.Ok("Get-WandbLaunchQueueItem old").Count(i => Item(i).State == QueueItemState.Pending));
        shell.Ok($"$null = Add-WandbLaunchQueueItem {Train}");
        Assert.Equal(
            ["default", "old"],
            shell.Ok("Get-WandbRunQueue").Select(q => ((WandbRunQueue)q.BaseObject).Name).Order()
        );
        shell.Fails($"Add-WandbLaunchQueueItem {Train} -Queue old -Priority high", "ServerTooOld");
        shell.Fails("Get-WandbLaunchQueueItem old -Id 1 | Remove-WandbLaunchQueueItem -Confirm:$false", "ServerTooOld");
        shell.Fails("Remove-WandbRunQueue old -Confirm:$false", "ServerTooOld");
        shell.Fails("Suspend-WandbRunQueue old -WhatIf", "QueuePauseNotSupported");
        shell.Fails("Get-WandbRunQueue old | Resume-WandbRunQueue", "QueuePauseNotSupported");
        Assert.Null(((WandbRunQueue)Assert.Single(shell.Ok("Get-WandbRunQueue old")).BaseObject).Paused);

        using var connection = await ConnectAsync(server);
        var api = await connection.Api.ProtocolAsync(default);
        var item = (await api.PopAsync("local", "train", "old", null, default))!;
        Assert.True(await api.AckAsync(item.Id, "run1", default));
        Assert.Equal(
            (QueueItemState.Claimed, "run1"),
            (
                await connection.Queues.ItemAsync(
                    (await connection.Queues.FindAsync("local", "train", "old", null, default))!,
                    item.Id,
                    default
                )
            )
                is { } found
                ? (found.State, found.RunId)
                : default
        );
    }

    [Fact]
    public async Task An_item_that_nobody_acknowledges_goes_back_to_its_place()
    {
        await using var server = await StartServerAsync(lease: TimeSpan.FromMilliseconds(200));
        using var connection = await ConnectAsync(server);
        await connection.Queues.CreateAsync(new NewQueue("local", "model-registry", "q", "PROJECT"), default);
        await connection.Queues.PushAsync(
            "local",
            "model-registry",
            "q",
            null,
            [.. Enumerable.Range(1, 3).Select(n => new QueuePush(new JsonObject { ["uri"] = Train, ["n"] = n }))],
            default
        );
        var api = await connection.Api.ProtocolAsync(default);
        async Task<PoppedItem?> Pop() => await api.PopAsync("local", "model-registry", "q", null, default);
        var lost = (await Pop())!;
        var kept = (await Pop())!;
        Assert.True(await api.AckAsync(kept.Id, "kept", default));
        Assert.False(await api.AckAsync(kept.Id, "kept", default));
        await Task.Delay(300);
        var again = (await Pop())!;
        Assert.Equal(lost.Id, again.Id);

        // Whoever acknowledges first has it; the other is told no.
        Assert.True(await api.AckAsync(again.Id, "again", default));
        Assert.False(await api.AckAsync(lost.Id, "lost", default));
        Assert.Equal("3", (await Pop())!.Spec["n"]!.ToString());
        Assert.Null(await Pop());
    }

    [Fact]
    public async Task Eight_agents_and_ten_thousand_items_with_the_server_killed_in_the_middle()
    {
        const int Items = 10_000;
        var path = Path.Combine(Fixture.NewFolder("queue-server"), "wandb.db");
        var server = await StartServerAsync(path: path, lease: TimeSpan.FromSeconds(1));
        var url = server.Url;
        var port = new Uri(url).Port;
        WandbRunQueue queue;
        using (var connection = await ConnectAsync(server))
        {
            await connection.Queues.CreateAsync(new NewQueue("local", "model-registry", "q", "PROJECT"), default);
            queue = await connection.Queues.GetAsync("local", "model-registry", "q", null, default);
            await connection.Queues.PushAsync(
                "local",
                "model-registry",
                "q",
                null,
                [
                    .. Enumerable
                        .Range(0, Items)
                        .Select(n => new QueuePush(new JsonObject { ["uri"] = Train, ["n"] = n })),
                ],
                default
            );
        }

        var taken = new ConcurrentDictionary<string, int>();
        var agents = Enumerable
            .Range(0, 8)
            .Select(agent =>
                Task.Run(async () =>
                {
                    using var connection = await ConnectAsync(server);
                    using var transport = new GraphQLTransport(connection.Settings, 0);
                    var api = (await connection.Api.ProtocolAsync(default)).Over(transport);
                    var empty = 0;
                    while (empty < 20)
                    {
                        try
                        {
                            if (await api.PopAsync("local", "model-registry", "q", null, default) is not { } item)
                            {
                                empty++;
                                await Task.Delay(100);
                                continue;
                            }

                            empty = 0;
                            var run = $"agent{agent}-{item.Id}";
                            bool? mine = null;
                            var asked = false;
                            while (mine is null)
                            {
                                try
                                {
                                    var before = asked;
                                    asked = true;
                                    mine = await api.ClaimAsync(queue, item.Id, run, before, default);
                                }
                                catch (LaunchException)
                                {
                                    // The server is away; the answer may be lost.
                                    await Task.Delay(50);
                                }
                            }

                            if (mine.Value)
                            {
                                taken.AddOrUpdate(item.Id, 1, (_, n) => n + 1);
                            }
                        }
                        catch (LaunchException)
                        {
                            await Task.Delay(50);
                        }
                    }
                })
            )
            .ToList();
        for (var i = 0; i < 2; i++)
        {
            await Task.Delay(1500);
            await server.DisposeAsync();
            await Task.Delay(200);
            server = await LaunchServer.StartAsync(
                path,
                "127.0.0.1",
                port,
                Fixture.Key,
                lease: TimeSpan.FromSeconds(1)
            );
        }

        await Task.WhenAll(agents);
        await server.DisposeAsync();
        Assert.Equal(Items, taken.Count);
        Assert.All(taken, t => Assert.Equal(1, t.Value));
    }

    [Fact]
    public async Task An_agent_that_waits_is_told_at_once()
    {
        using var shell = new Shell();
        var name = NewQueue(shell);
        using var connection = await Fixture.ConnectAsync();
        var queue = await connection.Queues.GetAsync("local", "model-registry", name, null, default);
        var api = await connection.Api.ProtocolAsync(default);
        var waiting = api.WaitForWorkAsync([queue.Id], TimeSpan.FromSeconds(30), default);
        await Task.Delay(200);
        Assert.False(waiting.IsCompleted);
        shell.Ok($"$null = Add-WandbLaunchQueueItem {Train} -Queue {name}");
        Assert.True(await waiting.WaitAsync(TimeSpan.FromSeconds(60)));
        Assert.True(await api.WaitForWorkAsync([queue.Id], TimeSpan.FromSeconds(30), default));
        Assert.NotNull(await api.PopAsync("local", "model-registry", name, null, default));
        Assert.False(await api.WaitForWorkAsync([queue.Id], TimeSpan.FromMilliseconds(100), default));
    }
}
