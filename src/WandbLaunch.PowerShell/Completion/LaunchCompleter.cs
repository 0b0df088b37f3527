using System.Collections;
using System.Management.Automation;
using System.Management.Automation.Language;
using WandbLaunch.Foundation;

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
#pragma warning disable VSTHRD002 // PowerShell waits for a completer, and this long at most.
            values = task.Wait(900) ? task.Result : [];
#pragma warning restore VSTHRD002
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
