using System.Text.Json.Nodes;
using WandbLaunch.Foundation;
using WandbLaunch.Model;
using WandbLaunch.Server;
using WandbLaunch.Wandb;

namespace WandbLaunch.Tests;

/// <summary>The protocol that is chosen for a server, and what each makes of the same wish.</summary>
public sealed class ProtocolTests
{
    private const string Train = "https://example.org/train.git";

    private static Task<LaunchServer> StartServerAsync(bool generation2022) =>
        LaunchServer.StartAsync(
            Path.Combine(Fixture.NewFolder("protocol-server"), "wandb.db"),
            "127.0.0.1",
            0,
            Fixture.Key,
            generation2022
        );

    private static Task<WandbConnection> ConnectAsync(LaunchServer server) =>
        WandbConnection.OpenAsync(
            WandbSettings.Resolve(new LaunchEnvironment(), Fixture.Root, server.Url, Fixture.Key),
            null,
            default
        );

    // The own server as W&B's would answer: of today, and without what no other has.
    private static async Task<ILaunchProtocol> WithoutExtrasAsync(WandbConnection connection)
    {
        var dialect = await ServerDialect.ProbeAsync(connection.Transport, default);
        return LaunchProtocol.Choose(
            connection.Transport,
            dialect with
            {
                Features = new HashSet<string>(),
                Mutations = dialect.Mutations.Where(m => m != "finishRunQueueItem").ToHashSet(),
            }
        );
    }

    private static QueuePush Push(string name, int? priority = null) =>
        new(
            new LaunchConfig
            {
                Uri = Train,
                Entity = "local",
                Project = "p",
                Name = name,
            },
            System.Text.Encoding.UTF8.GetBytes(new JsonObject { ["uri"] = Train, ["name"] = name }.ToJsonString()),
            priority,
            null
        );

    [Fact]
    public async Task A_server_of_2022_is_spoken_to_as_one()
    {
        await using var server = await StartServerAsync(true);
        using var connection = await ConnectAsync(server);
        var protocol = Assert.IsType<Protocol2022>(await connection.Api.ProtocolAsync(default));
        Assert.Equal(
            (false, false, false, false, false, false, ""),
            (
                protocol.QueuesBelongToEntity,
                protocol.RunsKeepTheirId,
                protocol.AgentsHaveARun,
                protocol.ItemsTellTheirEnd,
                protocol.CanWaitForWork,
                protocol.HasSweeps,
                protocol.Store
            )
        );
        Assert.Equal("train", protocol.QueueProject("train"));
        Assert.Null(protocol.QueueProject(null));
        Assert.False(await protocol.IsSharedAsync("local", default));
        await Assert.ThrowsAsync<NotSupportedException>(() => protocol.WaitForWorkAsync([], TimeSpan.Zero, default));
    }

    [Fact]
    public async Task The_own_server_is_spoken_to_with_all_that_it_has()
    {
        await using var server = await StartServerAsync(false);
        using var connection = await ConnectAsync(server);
        var protocol = Assert.IsType<ProtocolLocal>(await connection.Api.ProtocolAsync(default));
        Assert.Equal(
            (true, true, true, true, true, true),
            (
                protocol.QueuesBelongToEntity,
                protocol.RunsKeepTheirId,
                protocol.AgentsHaveARun,
                protocol.ItemsTellTheirEnd,
                protocol.CanWaitForWork,
                protocol.ItemsShowTheirConfig
            )
        );
        Assert.NotEmpty(protocol.Store);
        Assert.Equal("model-registry", protocol.QueueProject("train"));
    }

    [Fact]
    public async Task Todays_server_without_our_extras_is_one_of_W_and_B()
    {
        await using var server = await StartServerAsync(false);
        using var connection = await ConnectAsync(server);
        var protocol = Assert.IsType<ProtocolCurrent>(await WithoutExtrasAsync(connection));
        Assert.Equal(
            (true, true, true, false, false, ""),
            (
                protocol.QueuesBelongToEntity,
                protocol.RunsKeepTheirId,
                protocol.AgentsHaveARun,
                protocol.ItemsTellTheirEnd,
                protocol.CanWaitForWork,
                protocol.Store
            )
        );
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task Items_are_removed_the_same_with_and_without_a_request_for_many(bool many)
    {
        await using var server = await StartServerAsync(false);
        using var connection = await ConnectAsync(server);
        var dialect = await ServerDialect.ProbeAsync(connection.Transport, default);
        Assert.True(dialect.RemoveBatch);
        var protocol = LaunchProtocol.Choose(
            connection.Transport,
            many
                ? dialect
                : dialect with
                {
                    Features = dialect.Features.Where(f => f != "wandblaunch_queue_remove").ToHashSet(),
                }
        );
        string[] names = ["q", "other"];
        foreach (var name in names)
        {
            await connection.Queues.CreateAsync(new NewQueue("local", "model-registry", name, "PROJECT"), default);
            await connection.Queues.PushAsync(
                "local",
                "model-registry",
                name,
                null,
                [.. Enumerable.Range(0, 3).Select(i => Push($"{name}{i}"))],
                default
            );
        }

        var (queue, other) = (await QueueAsync("q"), await QueueAsync("other"));
        var ids = await IdsAsync(queue);
        var foreign = await IdsAsync(other);
        var asked = connection.Transport.Requests;
        Assert.Equal(
            [true, false, false, true, false],
            await protocol.DeleteItemsAsync(queue, [ids[0], foreign[0], "nothing", ids[2], ids[0] + "0000"], default)
        );
        Assert.Equal(asked + 1, connection.Transport.Requests);
        Assert.Equal([ids[1]], await IdsAsync(queue));
        Assert.Equal(foreign, await IdsAsync(other));

        Task<WandbRunQueue> QueueAsync(string name) =>
            connection.Queues.GetAsync("local", "model-registry", name, connection.Username, default);

        async Task<List<string>> IdsAsync(WandbRunQueue of)
        {
            var found = new List<string>();
            await foreach (var item in connection.Queues.ItemsAsync(of, [], default))
            {
                found.Add(item.Id);
            }

            return found;
        }
    }

    // A version of the own server without one of its extras is no other server: the rest is used.
    [Fact]
    public async Task An_extra_that_is_missing_is_missed_alone()
    {
        await using var server = await StartServerAsync(false);
        using var connection = await ConnectAsync(server);
        var dialect = await ServerDialect.ProbeAsync(connection.Transport, default);
        var protocol = Assert.IsType<ProtocolLocal>(
            LaunchProtocol.Choose(
                connection.Transport,
                dialect with
                {
                    Features = dialect.Features.Where(f => f != "wandblaunch_queue_wait").ToHashSet(),
                }
            )
        );
        Assert.Equal((false, true), (protocol.CanWaitForWork, protocol.ItemsTellTheirEnd));
        Assert.Equal((await connection.Api.ProtocolAsync(default)).Store, protocol.Store);
    }

    [Fact]
    public async Task A_connection_chooses_once_and_another_transport_does_not_ask_again()
    {
        await using var server = await StartServerAsync(false);
        using var connection = await ConnectAsync(server);
        var protocol = await connection.Api.ProtocolAsync(default);
        var asked = connection.Transport.Requests;
        Assert.Same(protocol, await connection.Api.ProtocolAsync(default));
        Assert.Equal(asked, connection.Transport.Requests);

        using var transport = new GraphQLTransport(connection.Settings, 0);
        var other = protocol.Over(transport);
        var api = new WandbApi(transport, other);
        Assert.Same(other, await api.ProtocolAsync(default));
        Assert.IsType<ProtocolLocal>(other);
        Assert.Equal(0, transport.Requests);
        Assert.Null(await other.PopAsync("local", "model-registry", "nothing", null, default));
        Assert.Equal(1, transport.Requests);
        Assert.Equal(asked, connection.Transport.Requests);
    }

    [Theory]
    [InlineData(true, true)]
    [InlineData(false, false)]
    [InlineData(false, true)]
    public async Task The_default_queue_is_made_by_its_first_item_whatever_the_protocol(bool of2022, bool extras)
    {
        await using var server = await StartServerAsync(of2022);
        using var connection = await ConnectAsync(server);
        var protocol = extras ? await connection.Api.ProtocolAsync(default) : await WithoutExtrasAsync(connection);
        var queues = new QueueApi(connection.Transport, new WandbApi(connection.Transport, protocol));
        var project = await queues.QueueProjectAsync(null, "train", default);
        var pushed = await queues.PushAsync("local", project, "default", null, [Push("a"), Push("b")], default);
        Assert.All(pushed, p => Assert.Null(p.Fault));
        var queue = Assert.Single(await protocol.QueuesAsync("local", project, default));
        var names = new List<string>();
        await foreach (var item in protocol.ItemsAsync(queue, [], default))
        {
            names.Add(item.Id);
        }

        Assert.Equal(pushed.Select(p => p.Id), names);
        var missing = await Assert.ThrowsAsync<LaunchException>(() =>
            queues.PushAsync("local", project, "other", null, [Push("a")], default)
        );
        Assert.Equal("QueueNotFound", missing.ErrorId);
    }

    [Fact]
    public async Task What_2022_does_not_know_fails_alone_and_in_its_place()
    {
        await using var server = await StartServerAsync(true);
        using var connection = await ConnectAsync(server);
        var before = connection.Transport.Requests;
        var pushed = await connection.Queues.PushAsync(
            "local",
            "train",
            "default",
            null,
            [Push("a"), Push("b", 1), Push("c"), Push("d", 2)],
            default
        );
        Assert.Equal([null, "ServerTooOld", null, "ServerTooOld"], pushed.Select(p => p.Fault?.ErrorId));
        Assert.Equal([true, false, true, false], pushed.Select(p => p.Id is not null));
        Assert.True(connection.Transport.Requests > before);

        // Nothing is sent where nothing is left.
        before = connection.Transport.Requests;
        pushed = await connection.Queues.PushAsync("local", "train", "default", null, [Push("e", 1)], default);
        Assert.Equal("ServerTooOld", Assert.Single(pushed).Fault?.ErrorId);
        Assert.Equal(before + 1, connection.Transport.Requests);
    }

    [Fact]
    public async Task The_end_of_an_item_is_told_in_the_words_that_the_server_has()
    {
        await using var old = await StartServerAsync(true);
        using var past = await ConnectAsync(old);
        var item = await TakeAsync(past, await past.Api.ProtocolAsync(default), "train");
        var run = new RunPath("local", "train", "r1");
        var failed = new ItemEnd(item, "FAILED", run) { Message = "no such image", Stage = "build" };
        await (await past.Api.ProtocolAsync(default)).ReportEndAsync(failed, default);
        Assert.Equal("failed", await past.Api.RunStateAsync(run, default));

        await using var server = await StartServerAsync(false);
        using var connection = await ConnectAsync(server);
        var queue = (Protocol: await WithoutExtrasAsync(connection), Project: "model-registry");
        item = await TakeAsync(connection, queue.Protocol, queue.Project);
        await queue.Protocol.ReportEndAsync(failed with { Item = item, RunShowsIt = true }, default);
        Assert.Equal(QueueItemState.Claimed, await StateAsync(connection, queue.Protocol, item));
        await queue.Protocol.ReportEndAsync(failed with { Item = item }, default);
        Assert.Equal(QueueItemState.Failed, await StateAsync(connection, queue.Protocol, item));

        var own = await connection.Api.ProtocolAsync(default);
        item = await TakeAsync(connection, own, queue.Project);
        await own.ReportEndAsync(
            new ItemEnd(item, "FINISHED", run)
            {
                ExitCode = 0,
                Warning = "odd",
                RunShowsIt = true,
            },
            default
        );
        Assert.Equal(QueueItemState.Finished, await StateAsync(connection, own, item));
    }

    private static async Task<string> TakeAsync(WandbConnection connection, ILaunchProtocol protocol, string project)
    {
        await connection.Queues.PushAsync("local", project, "default", null, [Push("a")], default);
        var item = (await protocol.PopAsync("local", project, "default", null, default))!;
        Assert.True(await protocol.AckAsync(item.Id, "r1", default));
        return item.Id;
    }

    private static async Task<QueueItemState> StateAsync(
        WandbConnection connection,
        ILaunchProtocol protocol,
        string item
    ) =>
        (
            await protocol.ItemAsync(
                await connection.Queues.GetAsync("local", "model-registry", "default", null, default),
                item,
                default
            )
        )!.State;

    [Theory]
    [InlineData("polling", AgentState.Polling)]
    [InlineData("running", AgentState.Running)]
    [InlineData("draining", AgentState.Draining)]
    [InlineData("stopped", AgentState.Stopped)]
    [InlineData("Lost", AgentState.Lost)]
    public void States_of_agents_in_files_of_before_are_read_and_written_as_they_were(string text, AgentState state)
    {
        var agent = System.Text.Json.JsonSerializer.Deserialize<WandbLaunchAgent>(
            $$"""{ "Name": "a", "State": "{{text}}" }"""
        )!;
        Assert.Equal(state, agent.State);
        Assert.Contains(
            $"\"State\":\"{text.ToLowerInvariant()}\"",
            System.Text.Json.JsonSerializer.Serialize(agent),
            StringComparison.Ordinal
        );
    }
}
