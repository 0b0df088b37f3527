using System.Management.Automation;
using System.Management.Automation.Host;
using WandbLaunch.Foundation;

namespace WandbLaunch.PowerShell;

// What a command asks before it changes something.
public abstract partial class AsyncPSCmdlet
{
    /// <summary>
    /// False when ShouldProcess would say yes without a word, as -WhatIf, -Confirm, -Verbose and their preferences stand.
    /// For commands that take thousands of inputs, where the question costs more than the work.
    /// </summary>
    /// <param name="impact">The command's own, as its attribute has it.</param>
    private protected bool MayAsk(ConfirmImpact impact = ConfirmImpact.Medium) =>
        TellingParameters.Any(MyInvocation.BoundParameters.ContainsKey)
        || IsWhatIf()
        || !LanguagePrimitives.Equals(GetVariableValue("VerbosePreference"), ActionPreference.SilentlyContinue)
        || (
            MyInvocation.BoundParameters.TryGetValue("Confirm", out var confirm)
                ? LanguagePrimitives.IsTrue(confirm)
                : !LanguagePrimitives.TryConvertTo<ConfirmImpact>(
                    GetVariableValue("ConfirmPreference"),
                    out var preference
                ) || (preference != ConfirmImpact.None && impact >= preference)
        );

    /// <summary>True where -WhatIf holds, given or as a preference. For checks that the work itself would make; on the pipeline's thread.</summary>
    private protected bool IsWhatIf() =>
        MyInvocation.BoundParameters.TryGetValue("WhatIf", out var given)
            ? LanguagePrimitives.IsTrue(given)
            : LanguagePrimitives.IsTrue(GetVariableValue("WhatIfPreference"));

    /// <summary>Asks ShouldProcess on the pipeline's thread. Where a question is due and nobody can answer, it is an error of this object.</summary>
    protected Task<bool> ShouldProcessAsync(string target, string action) =>
        QuestionAsync(
            () => ShouldProcess(Secrets.Mask(target), action),
            e => new LaunchException(
                "ConfirmationMissing",
                LaunchErrorCategory.InvalidOperation,
                $"{action}: {target}. This must be confirmed, and nobody can be asked here. Give -Confirm:$false to say yes, or -WhatIf to see what would happen.",
                target,
                e
            )
        );

    /// <summary>Asks whether to go on, whatever -Confirm says. Where nobody can answer, it is an error that says how to go on without being asked.</summary>
    private protected Task<bool> ContinueAsync(string query, string caption, Func<LaunchException> unanswered) =>
        QuestionAsync(() => ShouldContinue(query, caption), _ => unanswered());

    private Task<bool> QuestionAsync(Func<bool> question, Func<Exception, LaunchException> unanswered) =>
        AskAsync(() =>
        {
            try
            {
                return question();
            }
            catch (Exception e)
                when (e
                        is HostException
                            or PSInvalidOperationException
                            or NotImplementedException
                            or NullReferenceException
                )
            {
                // -NonInteractive, a host that shows no questions, or pwsh's console where its input has ended: a task, a
                // service, a pipe. It takes the end for a line, and fails on that.
                throw unanswered(e);
            }
        });
}
