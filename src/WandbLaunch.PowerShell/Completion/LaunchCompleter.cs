using System.Collections;
using System.Management.Automation;
using System.Management.Automation.Language;
using WandbLaunch.Model;
using WandbLaunch.Wandb;

namespace WandbLaunch.PowerShell;

/// <summary>Base of the completers: they answer in less than a tenth of a second or not at all, and never connect by themselves.</summary>
public abstract class LaunchCompleter : IArgumentCompleter
{
    // More than anybody reads; the newest come first.
    private const int Most = 50;

    /// <summary>The command that is being typed.</summary>
    private protected string Command { get; private set; } = "";

    /// <summary>The word so far, without its quotes.</summary>
    private protected string Word { get; private set; } = "";

    /// <summary>The session's folder in the file system.</summary>
    private protected string Folder { get; private set; } = "";

    /// <summary>How long values count as new. Those of this machine are read each time, and kept for when that takes long.</summary>
    private protected virtual TimeSpan Fresh => TimeSpan.FromSeconds(5);

    /// <summary>Parameters whose bound values decide what is offered.</summary>
    private protected virtual IReadOnlyList<string> DependsOn => [];

    /// <summary>Whether the values depend on the session's folder.</summary>
    private protected virtual bool InFolder => false;

    /// <summary>Whether what is offered depends on the command.</summary>
    private protected virtual bool OfCommand => false;

    /// <inheritdoc/>
    public IEnumerable<CompletionResult> CompleteArgument(
        string commandName,
        string parameterName,
        string wordToComplete,
        CommandAst commandAst,
        IDictionary fakeBoundParameters
    )
    {
        Command = commandName ?? "";
        Word = (wordToComplete ?? "").Trim('\'', '"');
        Folder = InFolder ? CurrentFolder() : "";
        var key = string.Join(
            '\0',
            DependsOn
                .Select(n => string.Join(',', All(fakeBoundParameters, n)))
                .Prepend(Folder)
                .Prepend(OfCommand ? Command.ToLowerInvariant() : "")
                .Prepend(GetType().Name)
        );
        var values = WandbSession.Completions.Get(
            key,
            Fresh,
            token => ValuesAsync(fakeBoundParameters, token),
            kept => kept.Any(v => Matches(v.Value))
        );
        return
        [
            .. values
                .Where(v => Matches(v.Value))
                .Take(Most)
                .Select(v => new CompletionResult(
                    Quote(v.Value),
                    v.Value,
                    CompletionResultType.ParameterValue,
                    v.Tip.Length == 0 ? v.Value : v.Tip
                )),
        ];
    }

    /// <summary>The values that exist, newest first where they have an age, with a tool tip each.</summary>
    private protected abstract Task<IReadOnlyList<(string Value, string Tip)>> ValuesAsync(
        IDictionary bound,
        CancellationToken token
    );

    /// <summary>Whether a value is meant by the word so far.</summary>
    private protected virtual bool Matches(string value) =>
        value.StartsWith(Word, StringComparison.CurrentCultureIgnoreCase);

    /// <summary>The values of a parameter that is typed already, as texts.</summary>
    private protected static IReadOnlyList<string> All(IDictionary bound, string name) =>
        bound[name] switch
        {
            null => [],
            PSObject { BaseObject: not PSCustomObject and var inner } => Texts(inner),
            var value => Texts(value),
        };

    /// <summary>The first value of a parameter that is typed already.</summary>
    private protected static string? One(IDictionary bound, string name) =>
        All(bound, name) is [{ Length: > 0 } value, ..] ? value : null;

    /// <summary>The connection, the entity and the project that the command would use; nothing where one is missing.</summary>
    private protected static (WandbConnection Server, string Entity, string Project)? Place(IDictionary bound) =>
        WandbSession.Current is { } server
        && (One(bound, "Entity") ?? server.Entity) is { } entity
        && (One(bound, "Project") ?? server.Project) is { } project
            ? (server, entity, project)
            : null;

    /// <summary>The run that the command names by its address or id; nothing where it names none.</summary>
    private protected RunPath? Run(IDictionary bound, string id)
    {
        if (One(bound, "Uri") is { } uri)
        {
            return LaunchUri.Parse(uri, Folder) is { Kind: LaunchUriKind.WandbRun } parsed ? parsed.Run : null;
        }

        return One(bound, id) is { } named && Place(bound) is { } place
            ? new RunPath(place.Entity, place.Project, named)
            : null;
    }

    private static string[] Texts(object? value) =>
        value switch
        {
            null => [],
            string text => [text],
            IEnumerable many => [.. many.Cast<object?>().Select(v => v?.ToString() ?? "")],
            _ => [value.ToString() ?? ""],
        };

    // What would be more than one word, or code, is quoted.
    private static string Quote(string value) =>
        value.Length == 0
        || value[0] is '@' or '#' or '<' or '>' or '-'
        || value.Any(c => char.IsWhiteSpace(c) || "'\"$`;|&(),{}‘’“”".Contains(c))
            ? "'" + value.Replace("'", "''", StringComparison.Ordinal) + "'"
            : value;

    private static string CurrentFolder()
    {
        using var shell = System.Management.Automation.PowerShell.Create(RunspaceMode.CurrentRunspace);
        shell.AddCommand("Microsoft.PowerShell.Management\\Get-Location").AddParameter("PSProvider", "FileSystem");
        return shell.Invoke<PathInfo>().FirstOrDefault()?.ProviderPath ?? "";
    }
}
