using System.Collections;
using System.Management.Automation;
using System.Management.Automation.Language;
using WandbLaunch.Foundation;
using WandbLaunch.Launching;

namespace WandbLaunch.PowerShell;

/// <summary>Base of the completers: they answer in under a second or not at all, and never connect by themselves.</summary>
public abstract class LaunchCompleter : IArgumentCompleter
{
    /// <inheritdoc/>
    public IEnumerable<CompletionResult> CompleteArgument(
        string commandName,
        string parameterName,
        string wordToComplete,
        CommandAst commandAst,
        IDictionary fakeBoundParameters
    )
    {
        var word = (wordToComplete ?? "").Trim('\'', '"');
        IReadOnlyList<(string Value, string Tip)> values;
        try
        {
            using var limit = new CancellationTokenSource(TimeSpan.FromMilliseconds(900));
            var task = Task.Run(() => ValuesAsync(fakeBoundParameters, limit.Token), limit.Token);
            values = task.Wait(900) ? task.Result : [];
        }
        catch (Exception e)
            when (e is AggregateException or OperationCanceledException or LaunchException or IOException)
        {
            // A completer has nobody to tell.
            values = [];
        }

        var pattern = WildcardPattern.Get(WildcardPattern.Escape(word) + "*", WildcardOptions.IgnoreCase);
        foreach (var (value, tip) in values.Where(v => pattern.IsMatch(v.Value)).Take(200))
        {
            var text = value.Any(c =>
                char.IsWhiteSpace(c)
                || c is '\'' or '$' or '`' or ';' or '|' or '&' or '(' or ')' or ',' or '{' or '}' or '@' or '#'
            )
                ? "'" + value.Replace("'", "''", StringComparison.Ordinal) + "'"
                : value;
            yield return new CompletionResult(
                text,
                value,
                CompletionResultType.ParameterValue,
                tip.Length == 0 ? value : tip
            );
        }
    }

    /// <summary>The values that exist, with a tool tip each.</summary>
    private protected abstract Task<IReadOnlyList<(string Value, string Tip)>> ValuesAsync(
        IDictionary bound,
        CancellationToken token
    );
}

/// <summary>Completes entities: the user and the teams.</summary>
public sealed class EntityCompleter : LaunchCompleter
{
    private protected override Task<IReadOnlyList<(string Value, string Tip)>> ValuesAsync(
        IDictionary bound,
        CancellationToken token
    ) =>
        Task.FromResult<IReadOnlyList<(string, string)>>(
            WandbSession.Current is { } c
                ? [.. c.Teams.Prepend(c.Entity).OfType<string>().Distinct().Select(t => (t, ""))]
                : []
        );
}

/// <summary>Completes projects of the given or default entity.</summary>
public sealed class ProjectCompleter : LaunchCompleter
{
    private protected override async Task<IReadOnlyList<(string Value, string Tip)>> ValuesAsync(
        IDictionary bound,
        CancellationToken token
    )
    {
        if (
            WandbSession.Current is not { } connection
            || (bound["Entity"]?.ToString() ?? connection.Entity) is not { } entity
        )
        {
            return [];
        }

        var names = await connection.Api.ProjectsAsync(entity, token);
        return [.. names.Order(StringComparer.OrdinalIgnoreCase).Select(n => (n, $"{entity}/{n}"))];
    }
}

/// <summary>Completes resources.</summary>
public sealed class ResourceCompleter : LaunchCompleter
{
    private protected override Task<IReadOnlyList<(string Value, string Tip)>> ValuesAsync(
        IDictionary bound,
        CancellationToken token
    ) =>
        Task.FromResult<IReadOnlyList<(string, string)>>([
            ("local-container", "a Docker container of this machine"),
            ("local-process", "a process of this machine"),
        ]);
}

/// <summary>Completes run states.</summary>
public sealed class RunStateCompleter : LaunchCompleter
{
    private static readonly string[] States =
    [
        "running",
        "finished",
        "failed",
        "crashed",
        "killed",
        "preempting",
        "preempted",
        "pending",
    ];

    private protected override Task<IReadOnlyList<(string Value, string Tip)>> ValuesAsync(
        IDictionary bound,
        CancellationToken token
    ) => Task.FromResult<IReadOnlyList<(string, string)>>([.. States.Select(s => (s, ""))]);
}

/// <summary>Completes ids of launches on this machine.</summary>
public sealed class LaunchIdCompleter : LaunchCompleter
{
    private protected override Task<IReadOnlyList<(string Value, string Tip)>> ValuesAsync(
        IDictionary bound,
        CancellationToken token
    ) =>
        Task.FromResult<IReadOnlyList<(string, string)>>([
            .. LaunchStore.Default.All().Take(200).Select(r => (r.Id, $"{r.State} {r.Source}")),
        ]);
}

/// <summary>Completes names of agents of this machine.</summary>
public sealed class AgentCompleter : LaunchCompleter
{
    private protected override Task<IReadOnlyList<(string Value, string Tip)>> ValuesAsync(
        IDictionary bound,
        CancellationToken token
    ) =>
        Task.FromResult<IReadOnlyList<(string, string)>>([
            .. WandbLaunch
                .Agents.AgentStore.Default.All()
                .Select(a => (a.Name, $"{a.State} {string.Join(", ", a.Queues)}")),
        ]);
}

/// <summary>Completes run ids of the given project, newest first.</summary>
public sealed class RunIdCompleter : LaunchCompleter
{
    private protected override async Task<IReadOnlyList<(string Value, string Tip)>> ValuesAsync(
        IDictionary bound,
        CancellationToken token
    )
    {
        if (
            WandbSession.Current is not { } connection
            || (bound["Entity"]?.ToString() ?? connection.Entity) is not { } entity
            || (bound["Project"]?.ToString() ?? connection.Project) is not { } project
        )
        {
            return [];
        }

        var values = new List<(string, string)>();
        await foreach (var run in connection.Api.RunsAsync(entity, project, null, null, 50, connection.AppUrl, token))
        {
            values.Add((run.Id, $"{run.Name} {run.State}"));
            if (values.Count >= 50)
            {
                break;
            }
        }

        return values;
    }
}

/// <summary>Completes queues of the given or default entity.</summary>
public sealed class QueueCompleter : LaunchCompleter
{
    private protected override async Task<IReadOnlyList<(string Value, string Tip)>> ValuesAsync(
        IDictionary bound,
        CancellationToken token
    )
    {
        if (
            WandbSession.Current is not { } connection
            || (bound["QueueEntity"]?.ToString() ?? bound["Entity"]?.ToString() ?? connection.Entity) is not { } entity
        )
        {
            return [];
        }

        var project = await connection.Queues.QueueProjectAsync(
            bound["QueueProject"]?.ToString(),
            bound["Project"]?.ToString() ?? connection.Project,
            token
        );
        return
        [
            .. (await connection.Queues.QueuesAsync(entity, project, token)).Select(q =>
                (q.Name, $"{q.Access} {(q.Pending is { } waiting ? $"{waiting} waiting" : "")}".Trim())
            ),
        ];
    }
}
