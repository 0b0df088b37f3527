namespace WandbLaunch.Foundation;

/// <summary>How far a piece of work is, for whoever shows it.</summary>
/// <param name="Text">What is being done, such as "resolving packages".</param>
/// <param name="Percent">How much of it is done; null: not known.</param>
internal readonly record struct LaunchProgress(string Text, int? Percent = null);
