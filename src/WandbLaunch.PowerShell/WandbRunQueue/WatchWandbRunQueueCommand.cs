using System.Globalization;
using System.Management.Automation;
using System.Management.Automation.Host;
using System.Text;
using WandbLaunch.Agents;
using WandbLaunch.Foundation;
using WandbLaunch.Wandb;

namespace WandbLaunch.PowerShell;

/// <summary>Shows queues as they change.</summary>
/// <remarks>A table of the queues: how many items wait, how long the oldest has waited, how many run and failed, and how many agents listen. In a terminal it is drawn over again in place; where the output goes elsewhere, a line is written for each change. With -Until Empty it ends when nothing waits or runs any more, with -Timeout after that time; the key q ends it too. At the end the queues are written as objects, with Running, Failed, Oldest and Agents. Ctrl+C ends it at once, without them.</remarks>
/// <example><para>Watch until the work is done</para><code>Connect-Wandb -Local; Watch-WandbRunQueue gpu -Until Empty</code><para>Ends at once when nothing waits or runs.</para></example>
/// <example><para>What do all queues look like now?</para><code>Connect-Wandb -Local; Watch-WandbRunQueue -Timeout 0 | Where-Object Failed -gt 0</code><para>With a time of 0 they are counted once.</para></example>
/// <example><para>In a script that waits for two queues, an hour at most</para><code>Connect-Wandb -Local; 'gpu', 'cpu' | Watch-WandbRunQueue -Until Empty -Interval 10 -Timeout 3600</code><para>A line for each change where nobody looks.</para></example>
[Cmdlet(VerbsCommon.Watch, "WandbRunQueue")]
[OutputType("WandbLaunch.Wandb.WandbRunQueue")]
public sealed class WatchWandbRunQueueCommand : QueueCommand
{
    private readonly List<(string Entity, string Project, string Name)> _wanted = [];
    private readonly HashSet<string> _missing = new(StringComparer.Ordinal);
    private readonly Dictionary<string, string> _lines = new(StringComparer.Ordinal);
    private WandbConnection? _server;
    private int _drawn;

    /// <summary>Names of queues; wildcards are allowed.</summary>
    [Parameter(Position = 0, ValueFromPipeline = true, ValueFromPipelineByPropertyName = true)]
    [Alias("Queue")]
    [ArgumentCompleter(typeof(QueueCompleter))]
    [SupportsWildcards]
    public string[] Name { get; set; } = ["*"];

    /// <summary>Seconds between two looks.</summary>
    [Parameter]
    [ValidateRange(0.2, 3600)]
    public double Interval { get; set; } = 2;

    /// <summary>What ends it. Empty: nothing waits or runs any more in any of the queues.</summary>
    [Parameter]
    [ValidateSet("Empty")]
    public string? Until { get; set; }

    /// <summary>Seconds after which it ends; with -Until it is an error then. 0 looks once. Default: no limit.</summary>
    [Parameter]
    [ValidateRange(0, int.MaxValue)]
    public int? Timeout { get; set; }

    // Waiting is what it is for: a server that restarts meanwhile is waited for too.
    private protected override TimeSpan Patience => TimeSpan.FromMinutes(10);

    /// <inheritdoc/>
    private protected override IReadOnlyList<string> Kinds =>
        [nameof(WandbRunQueue), nameof(WandbLaunchQueueItem), nameof(WandbLaunchAgent), nameof(AgentEvent)];

    /// <inheritdoc/>
    protected override async Task ProcessAsync()
    {
        (_server, var entity, var project) = await WhereAsync();
        var names = Kind == nameof(WandbLaunchAgent) ? Texts("Queues") : Name;
        _wanted.AddRange(names.Select(n => (entity, project, n)));
    }

    /// <inheritdoc/>
    protected override async Task EndAsync()
    {
        if (_server is null)
        {
            return;
        }

        var screen = Screen();
        var from = Context.Time.GetTimestamp();
        while (true)
        {
            var queues = await LookAsync(_server);
            Draw(queues, screen);
            var empty = queues.All(q => q is { Pending: null or 0, Running: null or 0 });
            var over = Timeout is { } limit && Context.Time.GetElapsedTime(from) >= TimeSpan.FromSeconds(limit);
            if ((Until is not null && empty) || over || await PauseAsync(screen is not null))
            {
                queues.ToList().ForEach(Output);
                if (Until is not null && !empty && over)
                {
                    Error(
                        new LaunchException(
                            "WaitTimeout",
                            LaunchErrorCategory.OperationTimeout,
                            $"After {Timeout} s {queues.Sum(q => q.Pending ?? 0)} items wait and {queues.Sum(q => q.Running ?? 0)} run.",
                            Name
                        )
                    );
                }

                return;
            }
        }
    }

    private async Task<IReadOnlyList<WandbRunQueue>> LookAsync(WandbConnection server)
    {
        var protocol = await server.Api.ProtocolAsync(Token);
        var found = new List<WandbRunQueue>();
        foreach (var place in _wanted.GroupBy(w => (w.Entity, w.Project), w => w.Name))
        {
            var (entity, project) = place.Key;
            IReadOnlyList<WandbRunQueue> all = [];
            try
            {
                all = await protocol.CountedQueuesAsync(entity, project, Token);
            }
            catch (LaunchException e) when (e.ErrorId == "ProjectNotFound")
            {
                // Nobody has made a queue yet.
            }

            var patterns = place.Distinct(StringComparer.Ordinal).ToList();
            foreach (
                var name in patterns.Where(n =>
                    !WildcardPattern.ContainsWildcardCharacters(n) && all.All(q => q.Name != n) && _missing.Add(n)
                )
            )
            {
                Error(await server.Queues.QueueMissingAsync(entity, project, name, Token), name);
            }

            var agents = (await protocol.AgentsAsync(entity, project, Token))
                .Where(a => a.State is not (AgentState.Stopped or AgentState.Lost))
                .ToList();
            foreach (var queue in all.Where(q => patterns.Exists(p => Means(p, q.Name))))
            {
                found.Add(
                    await CountAsync(server, queue) with
                    {
                        Agents = agents.Count(a => a.Queues.Contains(queue.Name, StringComparer.Ordinal)),
                    }
                );
            }
        }

        return found;
    }

    private static bool Means(string pattern, string name) =>
        WildcardPattern.ContainsWildcardCharacters(pattern)
            ? WildcardPattern.Get(pattern, WildcardOptions.IgnoreCase).IsMatch(name)
            : pattern == name;

    // Servers of others tell no numbers: their items do, as many as they list.
    private async Task<WandbRunQueue> CountAsync(WandbConnection server, WandbRunQueue queue)
    {
        if (queue.Running is not null)
        {
            return queue;
        }

        var items = new List<WandbLaunchQueueItem>();
        await foreach (var item in server.Queues.ItemsAsync(queue, [], Token))
        {
            items.Add(item);
        }

        return queue with
        {
            Pending = queue.Pending ?? items.Count(i => i.State == QueueItemState.Pending),
            Running = items.Count(i => i.State is QueueItemState.Leased or QueueItemState.Claimed),
            Failed = items.Count(i => i.State == QueueItemState.Failed),
            Oldest = items.Where(i => i.State == QueueItemState.Pending).Min(i => i.Created),
        };
    }

    // In place where a person looks at a terminal that can; else a line for each change.
    private void Draw(IReadOnlyList<WandbRunQueue> queues, (int Width, int Height, bool Colour)? screen)
    {
        if (screen is not { } size)
        {
            foreach (var queue in queues)
            {
                var line = QueueBoard.Line(queue);
                if (_lines.GetValueOrDefault(queue.Id) != line)
                {
                    _lines[queue.Id] = line;
                    Show($"{Context.Time.GetLocalNow().ToString("HH:mm:ss", CultureInfo.InvariantCulture)} {line}\n");
                }
            }

            return;
        }

        var lines = QueueBoard.Table(queues, Context.Time.GetUtcNow(), size.Width, size.Height, size.Colour);
        lines = [.. lines, $"{Context.Time.GetLocalNow().ToString("HH:mm:ss", CultureInfo.InvariantCulture)} q ends"];
        var text = new StringBuilder();
        if (_drawn > 0)
        {
            text.Append(CultureInfo.InvariantCulture, $"\x1b[{_drawn}A");
        }

        foreach (var line in lines)
        {
            text.Append("\r\x1b[2K").Append(line).Append('\n');
        }

        text.Append("\x1b[J");
        _drawn = lines.Count;
        Post(() => Host.UI.Write(text.ToString()));
    }

    // Until the next look; true when somebody wants no more.
    private async Task<bool> PauseAsync(bool keys)
    {
        var from = Context.Time.GetTimestamp();
        var pause = TimeSpan.FromSeconds(Interval);
        while (Context.Time.GetElapsedTime(from) is var gone && gone < pause)
        {
            if (keys && QuitPressed())
            {
                return true;
            }

            var left = pause - gone;
            await Task.Delay(left < TimeSpan.FromMilliseconds(100) ? left : TimeSpan.FromMilliseconds(100), Token);
        }

        return false;
    }

    private static bool QuitPressed()
    {
        while (!Console.IsInputRedirected && Console.KeyAvailable)
        {
            if (Console.ReadKey(true).KeyChar is 'q' or 'Q')
            {
                return true;
            }
        }

        return false;
    }

    private string? Rendering() =>
        GetVariableValue("PSStyle") is { } style
            ? PSObject.AsPSObject(style).Properties["OutputRendering"]?.Value?.ToString()
            : null;

    // Read anew each time would follow a window that is made smaller; lines that are too short do no harm.
    private (int Width, int Height, bool Colour)? Screen()
    {
        try
        {
            var environment = Context.Environment;
            return
                Host.Name == "ConsoleHost"
                && !Console.IsOutputRedirected
                && Host.UI.SupportsVirtualTerminal
                && environment["TERM"] != "dumb"
                ? (
                    Math.Max(20, Host.UI.RawUI.BufferSize.Width - 1),
                    Math.Max(5, Host.UI.RawUI.WindowSize.Height),
                    environment["NO_COLOR"] is null && Rendering() != "PlainText"
                )
                : null;
        }
        catch (Exception e) when (e is HostException or NotImplementedException or NullReferenceException)
        {
            return null;
        }
    }
}
