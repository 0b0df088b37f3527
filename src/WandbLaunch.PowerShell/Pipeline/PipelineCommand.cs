using System.Management.Automation;
using WandbLaunch.Agents;
using WandbLaunch.Foundation;
using WandbLaunch.Launching;
using WandbLaunch.Model;
using WandbLaunch.Wandb;

namespace WandbLaunch.PowerShell;

/// <summary>
/// Base of the commands that take objects of this module from the pipeline. Properties bind by their names alone, and Id,
/// Name and Queue are properties of many things: a run that is piped into a command for queues must not be taken for the
/// queue of its name. So each command says which kinds of objects it takes, and any other is an error.
/// </summary>
public abstract class PipelineCommand : AsyncPSCmdlet
{
    /// <summary>The object that came from the pipeline, whatever parameters its properties were bound to.</summary>
    [Parameter(ValueFromPipeline = true, DontShow = true)]
    public PSObject? InputObject { get; set; }

    /// <summary>The types of this module that the command takes, without their namespaces.</summary>
    private protected abstract IReadOnlyList<string> Kinds { get; }

    /// <summary>The type of the piped object where it is one of this module's, also one that was selected from or read from a file; else null.</summary>
    private protected string? Kind => KindOf(InputObject);

    /// <inheritdoc/>
    private protected override LaunchException? Refusal() =>
        Kind is not { } kind || Kinds.Contains(kind, StringComparer.Ordinal)
            ? null
            : new LaunchException(
                "InputNotSupported",
                LaunchErrorCategory.InvalidArgument,
                $"{MyInvocation.MyCommand.Name} takes no {kind} from the pipeline{(Kinds.Count > 0 ? $", only {string.Join(", ", Kinds)}" : "")}. Pipe one of those, or name what you mean by a parameter.",
                InputObject
            );

    internal static string? KindOf(PSObject? value)
    {
        if (value is null || value.BaseObject is string)
        {
            return null;
        }

        foreach (var name in value.TypeNames)
        {
            // Deserialized.WandbLaunch.Wandb.WandbRun, Selected.WandbLaunch.Wandb.WandbRun.
            var at = name.IndexOf("WandbLaunch.", StringComparison.Ordinal);
            if (at == 0 || (at > 0 && name[at - 1] == '.'))
            {
                return name[(name.LastIndexOf('.') + 1)..];
            }
        }

        return null;
    }

    /// <summary>A property of the piped object as text, where it has one.</summary>
    private protected string? Text(string property) => InputObject is { } input ? Property(input, property) : null;

    /// <summary>The texts of a property of the piped object: none, one or several.</summary>
    private protected string[] Texts(string property) =>
        LanguagePrimitives.TryConvertTo<string[]>(InputObject?.Properties[property]?.Value, out var texts)
            ? texts ?? []
            : [];

    /// <summary>The W&amp;B run that the piped object is, belongs to, or was started as; null when it names none by itself.</summary>
    /// <exception cref="LaunchException"><c>RunMissing</c>: there is no such run yet.</exception>
    private protected RunPath? PipedRun(WandbConnection connection)
    {
        switch (Kind)
        {
            case nameof(WandbRun):
                return Path(InputObject!, "Id");
            case nameof(WandbRunFile):
                return Path(InputObject!, "RunId");
            case nameof(LaunchedRun):
                return Path(InputObject!, "RunId", "Id");
            case nameof(WandbLaunchQueueItem) when Text("RunUri") is { } uri:
                return LaunchUri.Parse(uri, WorkingFolder).Run;
            case nameof(WandbLaunchQueueItem):
                throw new LaunchException(
                    "RunMissing",
                    LaunchErrorCategory.ObjectNotFound,
                    $"The item {Text("Id")} is {Text("State")} and has no run yet. Wait for it: Wait-WandbLaunchQueueItem -Started",
                    InputObject
                );
            case nameof(AgentEvent) when InputObject!.Properties["Run"]?.Value is { } run:
                return Path(PSObject.AsPSObject(run), "RunId", "Id");
            case nameof(AgentEvent):
                throw new LaunchException(
                    "RunMissing",
                    LaunchErrorCategory.ObjectNotFound,
                    "This event of an agent is of no run. Take those that have one: Where-Object Id",
                    InputObject
                );
            default:
                return null;
        }

        RunPath Path(PSObject of, params string[] ids) =>
            new(
                Property(of, "Entity") ?? connection.Entity ?? "",
                Property(of, "Project") ?? connection.Project ?? "",
                ids.Select(i => Property(of, i)).First(i => i is not null)!
            );
    }

    /// <summary>The project that is meant: the one that is given, or the connection's.</summary>
    /// <exception cref="LaunchException"><c>ProjectMissing</c>.</exception>
    private protected static string NeedProject(WandbConnection connection, string? given, object? target = null) =>
        given
        ?? connection.Project
        ?? throw new LaunchException(
            "ProjectMissing",
            LaunchErrorCategory.InvalidArgument,
            "Give -Project, or set one with Connect-Wandb -Project.",
            target
        );

    /// <summary>The kinds of objects that name W&amp;B runs: what <see cref="PipedRun"/> knows.</summary>
    private protected static readonly IReadOnlyList<string> RunKinds =
    [
        nameof(WandbRun),
        nameof(WandbRunFile),
        nameof(LaunchedRun),
        nameof(WandbLaunchQueueItem),
        nameof(AgentEvent),
    ];

    /// <summary>The kinds of objects that name launches of this machine.</summary>
    private protected static readonly IReadOnlyList<string> LaunchKinds =
    [
        nameof(LaunchedRun),
        nameof(WandbLaunchQueueItem),
        nameof(AgentEvent),
        nameof(WandbRun),
    ];

    /// <summary>Ids of the launches that the input means: an item or a run by the run that it became here. Wildcards stay for whoever allows them.</summary>
    /// <exception cref="LaunchException"><c>RunMissing</c>, <c>LaunchNotFound</c>.</exception>
    private protected IReadOnlyList<string> PipedLaunches(LaunchStore store, string[] given)
    {
        var run = Kind switch
        {
            nameof(WandbLaunchQueueItem) => Text("RunId")
                ?? throw new LaunchException(
                    "RunMissing",
                    LaunchErrorCategory.ObjectNotFound,
                    $"The item {Text("Id")} is {Text("State")} and has no run yet. Wait for it: Wait-WandbLaunchQueueItem -Started",
                    InputObject
                ),
            nameof(WandbRun) => Text("Id")!,
            _ => null,
        };
        if (run is null)
        {
            return [.. given.Select(id => WildcardPattern.ContainsWildcardCharacters(id) ? id : store.IdOf(id))];
        }

        return store.OfRun(run).FirstOrDefault() is { } launch
            ? [launch]
            : throw new LaunchException(
                "LaunchNotFound",
                LaunchErrorCategory.ObjectNotFound,
                $"The run {run} was not launched on this machine. See it with Get-WandbRun, or look on the machine of its agent.",
                InputObject
            );
    }

    private static string? Property(PSObject of, string name) =>
        of.Properties[name]?.Value?.ToString() is { Length: > 0 } text ? text : null;
}
