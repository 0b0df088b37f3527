using System.Buffers;
using System.Runtime.CompilerServices;
using System.Text.Json;
using System.Text.Json.Nodes;
using WandbLaunch.Foundation;
using WandbLaunch.Model;
using WandbLaunch.Resources;
using WandbLaunch.Sources;
using WandbLaunch.Wandb;

namespace WandbLaunch.PowerShell;

/// <summary>Gathers items and pushes them together, in their order.</summary>
internal sealed class QueuePusher(
    WandbConnection server,
    string queue,
    string? queueEntity,
    string? queueProject,
    QueueItemPriority? priority,
    JsonObject? variables,
    string workingFolder
)
{
    // Requests go while the next items are gathered.
    private const int Full = 500;
    private const int MostUnderWay = 20;

    private readonly ResourceCatalog _resources = new(new LaunchContext());
    private string? _resource;
    private readonly List<QueuePush> _items = new(Full);
    private readonly ArrayBufferWriter<byte> _buffer = new(1024);
    private readonly string _entity = QueueCommand.NeedEntity(server, null);
    private (string Text, LaunchUri Uri)? _last;
    private Task _pushing = Task.CompletedTask;
    private int _underWay;

    /// <summary>Before the first item.</summary>
    internal bool IsNew { get; private set; } = true;

    internal bool IsFull => _items.Count >= Full;

    /// <summary>Whether there is a queue to push to, where that can be told before the items are known.</summary>
    /// <exception cref="LaunchException"><c>QueueNotFound</c>.</exception>
    internal async Task CheckQueueAsync(CancellationToken token)
    {
        var project = queueProject ?? (await server.Api.ProtocolAsync(token)).QueueProject(server.Project);
        if (queue != QueueApi.DefaultQueue && project is not null)
        {
            _ = await server.Queues.GetAsync(queueEntity ?? _entity, project, queue, server.Username, token);
        }
    }

    /// <summary>The config as a queue can store it.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    internal LaunchConfig Spec(LaunchConfig config)
    {
        if (config.Resource is not null && config.Resource != _resource)
        {
            // Long lists name the same few.
            _ = _resources.Of(config);
            _resource = config.Resource;
        }

        return QueueSpec.From(config, _entity, server.AppUrl, workingFolder, Parse);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    internal void Add(LaunchConfig spec)
    {
        IsNew = false;
        _buffer.ResetWrittenCount();
        using (var writer = new Utf8JsonWriter(_buffer, GraphQLTransport.PlainWriter))
        {
            spec.Write(writer, server.Username, queueEntity == spec.Entity ? null : queueEntity);
        }

        _items.Add(new QueuePush(spec, _buffer.WrittenSpan.ToArray(), (int?)priority, variables));
    }

    // Long lists name the same few addresses again and again.
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private LaunchUri Parse(string text)
    {
        if (_last is not { } last || last.Text != text)
        {
            _last = last = (text, LaunchUri.Parse(text, workingFolder));
        }

        return last.Uri;
    }

    /// <summary>Has what is gathered sent behind the requests before it, and does not wait. False when so much is under way that the caller should.</summary>
    internal bool Begin(Action<IReadOnlyList<object>> output, Action<Exception, object?> error, CancellationToken token)
    {
        var items = _items.ToList();
        _items.Clear();
        var before = _pushing;
        _pushing = Task.Run(
            async () =>
            {
                await before;
                await PushAsync(items, output, error, token);
                Interlocked.Decrement(ref _underWay);
            },
            token
        );
        return Interlocked.Increment(ref _underWay) < MostUnderWay;
    }

    /// <summary>Waits for all answers.</summary>
    internal Task WaitAsync() => _pushing;

    /// <summary>Sends everything, and waits for all answers.</summary>
    internal Task FlushAsync(
        Action<IReadOnlyList<object>> output,
        Action<Exception, object?> error,
        CancellationToken token
    )
    {
        Begin(output, error, token);
        return _pushing;
    }

    private async Task PushAsync(
        List<QueuePush> items,
        Action<IReadOnlyList<object>> output,
        Action<Exception, object?> error,
        CancellationToken token
    )
    {
        if (items.Count == 0)
        {
            return;
        }

        // On a server of 2022 each project has queues of its own; elsewhere this is one group.
        var protocol = await server.Api.ProtocolAsync(token);
        var groups = new List<(string Entity, string Project, List<QueuePush> Items)>();
        foreach (var item in items)
        {
            var (entity, project) = (queueEntity ?? item.Entity!, queueProject ?? protocol.QueueProject(item.Project)!);
            if (groups.Count == 0 || groups[^1].Entity != entity || groups[^1].Project != project)
            {
                groups.Add((entity, project, []));
            }

            groups[^1].Items.Add(item);
        }

        foreach (var (entity, project, part) in groups)
        {
            IReadOnlyList<QueuePushed> results;
            try
            {
                results = await server.Queues.PushAsync(entity, project, queue, server.Username, part, token);
            }
            catch (LaunchException e)
            {
                error(
                    part.Count == 1
                        ? e
                        : new LaunchException(
                            e.ErrorId,
                            e.Category,
                            $"{part.Count} items were not queued: {e.Message}",
                            part.Select(p => Secrets.Mask(p.Text)).ToArray(),
                            e
                        ),
                    null
                );
                continue;
            }

            var pushed = new List<object>(results.Count);
            foreach (var result in results)
            {
                if (result.Fault is { } fault)
                {
                    error(fault, null);
                }
                else
                {
                    pushed.Add(
                        new WandbLaunchQueueItem
                        {
                            Id = result.Id!,
                            Queue = queue,
                            Entity = entity,
                            QueueProject = project,
                            State = QueueItemState.Pending,
                            Priority = priority,
                            Created = DateTimeOffset.UtcNow,
                            Uri = result.Item.Source,
                            Project = result.Item.Project,
                            SpecText = result.Spec,
                            SpecJson = result.Item.Json,
                        }
                    );
                }
            }

            output(pushed);
        }
    }
}
